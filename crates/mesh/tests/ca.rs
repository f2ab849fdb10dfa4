//! Certificates as X.509 sees them, and the authority's life on disk.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tortie_mesh::ca::{AUTHORITY_FILE, Authority, BACKDATE, CaError, WorkloadCertificate};
use tortie_mesh::identity::Workload;
use tortie_mesh::sds;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// 2026-11-01 12:00:00.5 UTC.
fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(1_793_534_400_500_000_000).unwrap()
}

fn authority() -> Authority {
    Authority::new("cluster.local".parse().unwrap(), now(), Duration::days(30)).unwrap()
}

fn issue(authority: &Authority) -> WorkloadCertificate {
    let summary = Workload::new("default", "summary").unwrap();
    authority.issue(&summary, now(), Duration::hours(1)).unwrap()
}

fn parsed<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (rest, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert!(rest.is_empty(), "one certificate");
    look(&X509Certificate::from_der(&pem.contents).unwrap().1)
}

#[test]
fn a_workload_certificate_says_who_and_nothing_else() {
    let issued = issue(&authority());
    parsed(&issued.chain_pem, |certificate| {
        assert_eq!(certificate.subject().iter().count(), 0, "empty subject");
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical);
        let id = "spiffe://cluster.local/ns/default/sa/summary";
        assert_eq!(names.value.general_names, [GeneralName::URI(id)]);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth && !usage.any);
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
        assert!(!certificate.basic_constraints().unwrap().unwrap().value.ca);
        assert_eq!(certificate.validity().not_before.to_datetime(), issued.not_before);
        assert_eq!(certificate.validity().not_after.to_datetime(), issued.not_after);
    });
}

#[test]
fn the_root_is_an_authority_for_one_level_of_its_trust_domain() {
    let authority = authority();
    parsed(authority.root_pem(), |root| {
        let constraints = root.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = root.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && !usage.digital_signature());
        let names = root.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names, [GeneralName::URI("spiffe://cluster.local")]);
        assert_eq!(root.validity().not_after.to_datetime(), authority.not_after());
    });
    let key_id = |pem: &str, own: bool| {
        parsed(pem, |certificate| {
            let ids =
                certificate.extensions().iter().filter_map(|it| match it.parsed_extension() {
                    ParsedExtension::SubjectKeyIdentifier(id) if own => Some(id.0.to_vec()),
                    ParsedExtension::AuthorityKeyIdentifier(id) if !own => {
                        id.key_identifier.as_ref().map(|id| id.0.to_vec())
                    }
                    _ => None,
                });
            ids.reduce(|_, id| id).unwrap()
        })
    };
    let issued = issue(&authority);
    assert_eq!(key_id(&issued.chain_pem, false), key_id(authority.root_pem(), true));
}

#[test]
fn validity_is_backdated_whole_and_within_the_authoritys() {
    let authority = authority();
    let summary = Workload::new("default", "summary").unwrap();
    let whole = now().replace_nanosecond(0).unwrap();
    let issued = issue(&authority);
    assert_eq!(issued.not_before, whole - BACKDATE);
    assert_eq!(issued.not_after, whole + Duration::hours(1));
    let left = issued.not_after - now();
    assert_eq!((issued.issued_at, issued.renew_at()), (now(), now() + left / 2));

    let late = authority.not_after() - Duration::minutes(10);
    let issued = authority.issue(&summary, late, Duration::hours(1)).unwrap();
    assert_eq!(issued.not_after, authority.not_after());
    assert_eq!(issued.renew_at(), late + Duration::minutes(5));

    let brief = authority.issue(&summary, now(), Duration::seconds(2)).unwrap();
    assert!(now() < brief.renew_at() && brief.renew_at() < brief.not_after);

    for at in [now() - Duration::days(1), authority.not_after()] {
        let error = authority.issue(&summary, at, Duration::hours(1)).unwrap_err();
        assert!(matches!(error, CaError::NotValid { .. }), "{error}");
    }
    for lifetime in [Duration::ZERO, -Duration::HOUR, Duration::MAX] {
        let error = authority.issue(&summary, now(), lifetime).unwrap_err();
        assert!(matches!(error, CaError::Lifetime(_)), "{error}");
    }
}

#[test]
fn every_certificate_has_its_own_key_and_serial() {
    let authority = authority();
    let (one, other) = (issue(&authority), issue(&authority));
    assert_ne!(one.key, other.key);
    let serial = |issued: &WorkloadCertificate| {
        parsed(&issued.chain_pem, |certificate| certificate.raw_serial().to_vec())
    };
    assert_ne!(serial(&one), serial(&other));
}

#[test]
fn an_authority_survives_on_disk_and_only_its_owner_reads_it() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("ca");
    let made = authority();
    made.save(&dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&dir), mode(&dir.join(AUTHORITY_FILE))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing left beside it");

    let loaded = Authority::load(&dir).unwrap();
    assert_eq!(loaded.root_pem(), made.root_pem());
    assert_eq!(loaded.trust_domain(), made.trust_domain());
    assert_eq!(loaded.not_after(), made.not_after());
    let key = |authority: &Authority| {
        parsed(&issue(authority).chain_pem, |leaf| leaf.issuer().to_string())
    };
    assert_eq!(key(&loaded), key(&made));
}

#[test]
fn what_is_no_authority_is_not_loaded() {
    let home = TempDir::new().unwrap();
    let file = home.path().join(AUTHORITY_FILE);
    let missing = Authority::load(home.path()).unwrap_err();
    assert!(matches!(&missing, CaError::File { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound));

    authority().save(home.path()).unwrap();
    let good = fs::read_to_string(&file).unwrap();
    let other = TempDir::new().unwrap();
    authority().save(other.path()).unwrap();
    let other = fs::read_to_string(other.path().join(AUTHORITY_FILE)).unwrap();
    let (root, key) = good.split_at(good.find("-----BEGIN PRIVATE").unwrap());
    let other_key = other.split_at(other.find("-----BEGIN PRIVATE").unwrap()).1;
    let leaf = issue(&authority());
    let leaf = format!("{}{}", leaf.chain_pem, leaf.key.expose_pem());
    for (contents, expected) in [
        (String::new(), "no private key in it"),
        (root.to_owned(), "no private key in it"),
        (key.to_owned(), "no certificate before the private key"),
        (format!("{root}{other_key}"), "the private key is not the certificate's"),
        (format!("{root}{}", key.replace('M', "!")), "the private key is damaged"),
        (leaf, "the certificate is not one of an authority"),
    ] {
        fs::write(&file, &contents).unwrap();
        let error = Authority::load(home.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", file.display()), "{contents}");
    }

    fs::write(&file, good).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let error = Authority::load(home.path()).unwrap_err().to_string();
    assert!(error.contains("mode 0640 lets others in"), "{error}");
}

#[test]
fn a_lost_disk_is_an_error_that_names_the_file() {
    let error = authority().save(Path::new("/proc/nowhere")).unwrap_err().to_string();
    assert!(error.starts_with("/proc/nowhere: "), "{error}");
    let error = sds::publish(Path::new("/proc/nowhere"), &issue(&authority())).unwrap_err();
    assert!(error.to_string().starts_with("/proc/nowhere: "), "{error}");
}

#[test]
fn no_key_reaches_a_debug_output() {
    let authority = authority();
    let issued = issue(&authority);
    let secret = issued.key.expose_pem().lines().nth(1).unwrap().to_owned();
    let shown = format!("{issued:?} {authority:?}");
    assert!(shown.contains("PrivateKey(..)") && !shown.contains(&secret), "{shown}");
    assert!(!shown.contains("PRIVATE KEY-----"), "{shown}");
}

#[test]
fn the_secret_has_the_entries_istio_expects() {
    let issued = issue(&authority());
    let [(chain_name, chain), (key_name, key), (root_name, root)] = issued.secret_entries();
    assert_eq!([chain_name, key_name, root_name], ["cert-chain.pem", "key.pem", "root-cert.pem"]);
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(root, issued.root_pem);
}

#[test]
fn published_secrets_hold_whole_pairs_for_their_owner_alone() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("sds");
    let authority = authority();
    let issued = issue(&authority);
    sds::publish(&dir, &issue(&authority)).unwrap();
    sds::publish(&dir, &issued).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, [sds::CERTIFICATE_FILE, sds::ROOT_FILE]);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let pair = fs::read_to_string(dir.join(sds::CERTIFICATE_FILE)).unwrap();
    let [_, (_, expected)] = sds::files(&issued);
    assert_eq!(pair, expected);
    assert!(!pair.contains(&issued.root_pem.replace('\n', "\\n")), "one secret a file");
}
