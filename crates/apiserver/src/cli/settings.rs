//! What an API server is told on the command line, whoever starts it: `tortie apiserver` and
//! `tortie up` have the same flags, and here they are.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use tortie_daemon::log;

/// The settings that `tortie apiserver` and `tortie up` share.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Settings {
    /// Where the API server listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6980")]
    pub listen: SocketAddr,

    /// Keep resources in etcd, at these addresses, instead of a file
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,

    /// The authority that signed etcd's certificates
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_ca_file: Option<PathBuf>,

    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_ca_file", requires = "etcd_key_file")]
    pub etcd_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_cert_file")]
    pub etcd_key_file: Option<PathBuf>,

    /// The user of an etcd that has users
    #[arg(long, value_name = "NAME", requires = "etcd", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,

    /// That user's password: the only line of the file
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,

    /// A further name or address that clients call the server by; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert_file", value_parser = name)]
    pub tls_san: Vec<String>,

    /// The server's certificate, with intermediates, instead of one of its own authority
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Trust clients whose certificates one of these authorities signed, too: their common name is
    /// the user, their organizations the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Put the audit log aside when it has this many MiB
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub audit_max_size: u64,

    /// How many audit logs to keep beside the one that is written
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_keep: u32,

    /// Make a change only once what the audit log says of it is on the disk
    #[arg(long)]
    pub audit_sync: bool,

    /// Log what is needed to debug
    #[arg(long)]
    pub debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub log_format: log::Format,
}

/// What certificates can name: an address or a DNS name.
fn name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    let fine = text.parse::<IpAddr>().is_ok()
        || (!text.is_empty() && text.len() <= 253 && text.chars().all(letter));
    if fine { Ok(text.to_owned()) } else { Err("neither a DNS name nor an address".to_owned()) }
}

impl Settings {
    /// What clients call the server by.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned()];
        let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let listen = Some(self.listen.ip()).filter(|address| !address.is_unspecified());
        names.extend(own.into_iter().chain(listen).map(|address| address.to_string()));
        names.extend(self.tls_san.iter().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// The arguments by which another process is told the same.
    pub fn arguments(&self) -> Vec<OsString> {
        let files = [
            ("--etcd-ca-file", &self.etcd_ca_file),
            ("--etcd-cert-file", &self.etcd_cert_file),
            ("--etcd-key-file", &self.etcd_key_file),
            ("--etcd-password-file", &self.etcd_password_file),
            ("--tls-cert-file", &self.tls_cert_file),
            ("--tls-private-key-file", &self.tls_private_key_file),
            ("--client-ca-file", &self.client_ca_file),
        ];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.clone()?.into())));
        let text = |name: &'static str, value: &dyn ToString| (name, value.to_string().into());
        let several = |name: &'static str, values: &[String]| -> Vec<(&'static str, OsString)> {
            values.iter().map(|value| (name, value.into())).collect()
        };
        let mut all = vec![text("--listen", &self.listen)];
        all.extend(several("--etcd", &self.etcd));
        all.extend(several("--tls-san", &self.tls_san));
        all.extend(files);
        all.extend(self.etcd_user.iter().map(|user| text("--etcd-user", user)));
        all.push(text("--audit-max-size", &self.audit_max_size));
        all.push(text("--audit-keep", &self.audit_keep));
        all.push(text("--log-format", &self.log_format));
        let mut arguments: Vec<OsString> = all.into_iter().map(joined).collect();
        let flags = [("--audit-sync", self.audit_sync), ("--debug", self.debug)];
        arguments.extend(flags.iter().filter(|(_, on)| *on).map(|(flag, _)| flag.into()));
        arguments
    }
}

/// An option with its value, which may begin with a dash.
fn joined((name, value): (&str, OsString)) -> OsString {
    let mut argument = OsString::from(name);
    argument.push("=");
    argument.push(value);
    argument
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[OsString]) -> Settings {
        let command = Settings::augment_args(clap::Command::new("x").no_binary_name(true));
        Settings::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn another_process_is_told_the_same() {
        let nothing = parse(&[]);
        assert_eq!(parse(&nothing.arguments()), nothing);
        let command = Settings::augment_args(clap::Command::new("x"));
        // What excludes each other is not said together.
        for left_out in ["tls-san", "tls-cert-file"] {
            let mut given: Vec<OsString> = Vec::new();
            for argument in command.get_arguments().filter_map(|one| one.get_long()) {
                let left = argument == left_out
                    || (left_out == "tls-cert-file" && argument == "tls-private-key-file");
                match argument {
                    _ if left => {}
                    flag @ ("debug" | "audit-sync") => given.push(format!("--{flag}").into()),
                    "listen" => given.push("--listen=[::1]:7".into()),
                    "audit-max-size" | "audit-keep" => given.push(format!("--{argument}=3").into()),
                    "log-format" => given.push("--log-format=json".into()),
                    "etcd" => given.push("--etcd=http://a:1,http://b:2".into()),
                    file => given.push(format!("--{file}=-{file}").into()),
                }
            }
            let settings = parse(&given);
            let said = settings.arguments();
            assert_eq!(parse(&said), settings, "{said:?}");
            // Whatever was given is passed on; addresses of etcd one by one.
            assert_eq!(said.len(), given.len() + 1, "{said:?}");
        }
    }
}
