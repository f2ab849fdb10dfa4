//! Names of interfaces.

use sha1::{Digest, Sha1};
use smol_str::{SmolStr, format_smolstr};
use tortie_policy::EndpointId;

/// The name of a workload's interface on its host, by Calico's rule: `cali` and the first eleven
/// hexadecimal digits of the SHA-1 of `namespace.name`.
pub fn interface_name(id: &EndpointId) -> SmolStr {
    let digest = Sha1::digest(format!("{}.{}", id.namespace, id.name));
    let [a, b, c, d, e, f, ..] = <[u8; 20]>::from(digest);
    format_smolstr!("cali{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{:x}", f >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_calico_names_them() {
        let id = EndpointId { namespace: "default".into(), name: "customer-0".into() };
        // printf default.customer-0 | sha1sum
        assert_eq!(interface_name(&id), "cali8d2de73b773");
    }
}
