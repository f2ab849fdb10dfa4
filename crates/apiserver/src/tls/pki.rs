//! The folder with the authority and what it signed.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};

use super::TlsError;
use super::authority::{Authority, Wanted};
use super::certificate::Identity;

const AUTHORITY: &str = "ca.pem";
/// The authority's certificate without its key, for whoever is to trust it.
const ROOT: &str = "ca.crt";

/// How long certificates last that are renewed without asking.
const LIFETIME: Duration = Duration::days(365);

/// How long before its end a certificate is renewed.
const RENEW: Duration = Duration::days(30);

/// A certificate authority and what it signed, in a folder for its owner alone.
pub struct Pki {
    folder: PathBuf,
    authority: Authority,
}

impl Pki {
    /// Opens the folder, and makes it and the authority if they are not there.
    ///
    /// # Errors
    /// If that fails, or what is there cannot be used.
    pub fn open(folder: &Path, now: OffsetDateTime) -> Result<Pki, TlsError> {
        let fail = |source| TlsError::File { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        // Of two that begin at once, one makes the authority. The lock goes with the file.
        let lock = File::open(folder).map_err(fail)?;
        lock.lock().map_err(fail)?;
        let path = folder.join(AUTHORITY);
        let authority = match Authority::load(&path) {
            Err(TlsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Authority::create(&path, now)?
            }
            loaded => loaded?,
        };
        let root = folder.join(ROOT);
        tortie_daemon::file::replace(&root, authority.root().as_bytes(), 0o644)?;
        Ok(Pki { folder: folder.to_owned(), authority })
    }

    /// An authority and a server's certificate of it, both kept nowhere: the authority's certificate,
    /// and the server's with its key.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn once(names: &[String], now: OffsetDateTime) -> Result<(String, Identity), TlsError> {
        let path = Path::new(AUTHORITY);
        let authority = Authority::from(path, &Authority::make(now)?)?;
        let lifetime = LIFETIME;
        let wanted = Wanted { user: "tortie-webhook", group: None, names, lifetime };
        Ok((authority.root().to_owned(), authority.issue(&wanted, now)?))
    }

    /// The authority's certificate, as PEM.
    pub fn root(&self) -> &str {
        self.authority.root()
    }

    /// A server's certificate for names and addresses: the one in the folder, or a new one if that is
    /// near its end or is for others.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn server(&self, names: &[String], now: OffsetDateTime) -> Result<Identity, TlsError> {
        let lifetime = LIFETIME;
        self.kept("server.pem", &Wanted { user: "tortie", group: None, names, lifetime }, now)
    }

    /// A client's certificate that is kept in the folder and renewed near its end.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn client(
        &self,
        file: &str,
        user: &str,
        group: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Identity, TlsError> {
        self.kept(file, &Wanted { user, group, names: &[], lifetime: LIFETIME }, now)
    }

    /// A client's certificate that is not kept.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn issue(
        &self,
        user: &str,
        group: Option<&str>,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Identity, TlsError> {
        self.authority.issue(&Wanted { user, group, names: &[], lifetime }, now)
    }

    fn kept(
        &self,
        file: &str,
        wanted: &Wanted<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, TlsError> {
        let path = self.folder.join(file);
        match Identity::read(&path) {
            Ok(identity) if self.serves(&identity, wanted, now) => return Ok(identity),
            Err(error @ TlsError::Exposed { .. }) => return Err(error),
            // Gone, damaged, old or for others: a new one costs nothing.
            _ => {}
        }
        let identity = self.authority.issue(wanted, now)?;
        identity.write(&path)?;
        Ok(identity)
    }

    fn serves(&self, identity: &Identity, wanted: &Wanted<'_>, now: OffsetDateTime) -> bool {
        let Ok(subject) = identity.subject() else { return false };
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names.dedup();
            names
        };
        self.authority.signed(&subject)
            && subject.user == wanted.user
            && subject.groups.first().map(|group| group.as_str()) == wanted.group
            && sorted(&subject.names) == sorted(wanted.names)
            && subject.not_after > now.saturating_add(RENEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn certificates_are_kept_until_they_no_longer_serve() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("pki");
        let now = OffsetDateTime::now_utc();
        let pki = Pki::open(&folder, now).unwrap();
        let first = pki.server(&names(&["localhost", "127.0.0.1", "::1"]), now).unwrap();
        let pki = Pki::open(&folder, now).unwrap();
        let again = pki.server(&names(&["::1", "localhost", "127.0.0.1"]), now).unwrap();
        assert_eq!(again.certificate, first.certificate);
        let later = now + Duration::days(340);
        assert_ne!(pki.server(&names(&["localhost"]), now).unwrap().certificate, first.certificate);
        let renewed = pki.server(&names(&["localhost"]), later).unwrap();
        assert!(renewed.subject().unwrap().not_after > later + Duration::days(300));

        std::fs::remove_file(folder.join(AUTHORITY)).unwrap();
        let other = Pki::open(&folder, now).unwrap();
        assert_ne!(other.root(), pki.root());
        let signed = other.server(&names(&["localhost"]), later).unwrap();
        assert_ne!(signed.certificate, renewed.certificate);
        let admin = other.client("admin.pem", "a", Some("system:masters"), now).unwrap();
        let subject = admin.subject().unwrap();
        assert_eq!((subject.user.as_str(), subject.groups.len()), ("a", 1));
    }

    #[test]
    fn keys_that_others_may_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        Pki::open(folder.path(), now).unwrap();
        let path = folder.path().join(AUTHORITY);
        let mode = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let refused = || Pki::open(folder.path(), now).err().unwrap().to_string();
        mode(0o640);
        assert!(refused().contains("mode 0640"), "{}", refused());
        mode(0o600);
        let whole = fs::read_to_string(&path).unwrap();
        let (certificate, key) = whole.split_at(whole.find("-----BEGIN PRIVATE").unwrap());
        for damaged in ["", certificate, key, &whole.replace('A', "B")] {
            fs::write(&path, damaged).unwrap();
            assert!(refused().contains("ca.pem`: "), "{}", refused());
        }
    }
}
