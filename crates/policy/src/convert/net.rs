//! Nets as text.

use ipnet::IpNet;
use tortie_model::FieldError;

use crate::layer4::number;

/// What a net looks like.
pub(super) const NET_HINT: &str = "write an address and a prefix length, such as `10.0.0.0/8`";

/// A net of a rule: nothing beyond its prefix, and of the family it is written in.
pub(super) fn of_rule(text: &str, negated: bool) -> Result<IpNet, FieldError> {
    let error = |reason: String| FieldError::new("", reason);
    let net: IpNet = cidr(text).ok_or_else(|| match text.parse::<std::net::IpAddr>() {
        Ok(address) => error(format!("`{text}` is an address, not a CIDR"))
            .hint(format!("write `{}`", IpNet::from(address))),
        Err(_) => error(format!("`{text}` is not a CIDR")).hint(NET_HINT),
    })?;
    if net != net.trunc() {
        let hint = format!("write `{}`", net.trunc());
        return Err(error(format!("`{text}` has bits set beyond its prefix")).hint(hint));
    }
    if let Some(net) = mapped(net) {
        // Addresses of that form are taken as IPv4, so the net as written would match none.
        let hint = format!("write `{net}`");
        return Err(error(format!("`{text}` is an IPv4 net in IPv6 form")).hint(hint));
    }
    if negated && net.prefix_len() == 0 {
        let hint = "remove the rule, or name the addresses that are meant";
        return Err(error(format!("`{text}` leaves no address")).hint(hint));
    }
    Ok(net)
}

/// An address and a prefix length. Leading zeros, which some read as octal, are refused.
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, number(prefix)?).ok()
}

/// A net without bits beyond its prefix, and IPv4 in IPv6 form as the IPv4 it is: that is how
/// addresses are taken, so the net as written would match none.
pub(super) fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    mapped(net).unwrap_or(net)
}

/// The IPv4 net that a net of `::ffff:0:0/96` stands for.
fn mapped(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(net) = net else { return None };
    let (address, prefix) = (net.addr().to_ipv4_mapped()?, net.prefix_len().checked_sub(96)?);
    IpNet::new(address.into(), prefix).ok()
}
