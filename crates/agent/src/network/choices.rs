//! What the operator of the agent chooses, and what FelixConfiguration says where he does not.

use std::path::PathBuf;

use smol_str::SmolStr;
use tortie_nft::render::Options;
use tortie_policy::HostSettings;

/// Where what must outlive the agent is kept.
pub const STATE: &str = "/run/tortie";

/// What the operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// What the names of workloads' interfaces begin with, whatever `interfacePrefix` says.
    pub prefixes: Vec<SmolStr>,
    /// Whether decisions are recorded although no FelixConfiguration names a reader of flows.
    pub records: bool,
    /// Whether the agent may be ready while there are workloads that policy cannot be enforced for.
    pub accept_unenforced: bool,
    /// The folder of what must outlive the agent, until the machine boots.
    pub state: PathBuf,
}

impl Default for Choices {
    fn default() -> Self {
        Choices {
            prefixes: Vec::new(),
            records: false,
            accept_unenforced: false,
            state: STATE.into(),
        }
    }
}

impl Choices {
    /// What they come to before settings are known.
    pub fn options(&self) -> Options {
        self.with(&HostSettings::default())
    }

    /// What they come to with the settings of the node.
    pub(super) fn with(&self, settings: &HostSettings) -> Options {
        let default = Options::default();
        let given = [&self.prefixes, &settings.interface_prefixes];
        let prefixes = given.into_iter().find(|prefixes| !prefixes.is_empty());
        Options {
            prefixes: prefixes.cloned().unwrap_or(default.prefixes),
            records: self.records || settings.flow_readers.any(),
            mark: settings.mark_mask.and_then(Options::mark_within).unwrap_or(default.mark),
            drop_invalid: settings.drop_invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use tortie_policy::FlowReaders;

    use super::*;

    #[test]
    fn flags_stand_above_settings_and_settings_above_defaults() {
        let settings = HostSettings {
            interface_prefixes: vec!["tap".into(), "veth".into()],
            flow_readers: FlowReaders { server: true, ..FlowReaders::default() },
            mark_mask: Some(0x00f0_0000),
            drop_invalid: false,
            ..HostSettings::default()
        };
        let chosen = Choices { prefixes: vec!["azv".into()], ..Choices::default() };
        assert_eq!(Choices::default().options(), Options::default());
        let options = Choices::default().with(&settings);
        assert_eq!(options.prefixes, ["tap", "veth"]);
        assert_eq!((options.records, options.mark, options.drop_invalid), (true, 0x10_0000, false));
        assert_eq!(chosen.with(&settings).prefixes, ["azv"]);
        let recording = Choices { records: true, ..Choices::default() };
        assert!(recording.options().records);
    }
}
