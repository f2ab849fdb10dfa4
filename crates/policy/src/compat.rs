//! The points in which Calico's behaviour may be chosen over the strict one, by name.
//!
//! `docs/compat.md` says of each what Calico does, what Tortie does, and why.

use std::fmt;
use std::str::FromStr;

use tortie_model::FieldError;

/// Defines [`CompatPoint`] with its names, so that no point is forgotten in either.
macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal, $place:ident;)*) => {
        /// One point in which Tortie is stricter than Calico.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CompatPoint {
            $($(#[$doc])* $point,)*
        }

        impl CompatPoint {
            /// All points, by name.
            pub const ALL: &[CompatPoint] = &[$(CompatPoint::$point,)*];

            /// The name in `spec.compat`, `--compat` and `docs/compat.md`.
            pub fn name(self) -> &'static str {
                match self {
                    $(CompatPoint::$point => $name,)*
                }
            }

            /// What has to heed it.
            pub fn place(self) -> CompatPlace {
                match self {
                    $(CompatPoint::$point => CompatPlace::$place,)*
                }
            }
        }
    };
}

/// What has to heed a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompatPlace {
    /// The meaning of resources.
    Resources,
    /// Verdicts on traffic.
    Verdicts,
    /// The view in which staged policies count.
    Preview,
    /// The authorizer, or the server that sends it policy: nothing in this crate.
    Authorizer,
}

points! {
    /// Every service account and namespace of the cluster is sent to every sidecar.
    AllIdentities = "all-identities", Authorizer;
    /// A request path that cannot be normalised meets no path criterion, in Deny rules neither.
    BadPath = "bad-path", Verdicts;
    /// A check of ext_authz v2 without HTTP counts as a request without method and path.
    EmptyHttpInV2 = "empty-http-in-v2", Authorizer;
    /// A principal that names no workload counts as plain text.
    ForeignPrincipal = "foreign-principal", Verdicts;
    /// The trust domain of a SPIFFE ID is not compared.
    ForeignTrustDomain = "foreign-trust-domain", Verdicts;
    /// An Allow with `http` is an Allow at layer 4.
    HttpWithoutEnforcer = "http-without-enforcer", Verdicts;
    /// An invalid policy counts as absent.
    InvalidPolicyVanishes = "invalid-policy-vanishes", Resources;
    /// A sidecar's view has no address family.
    IpVersionIgnored = "ip-version-ignored", Verdicts;
    /// An `ipBlock` that cannot be parsed is skipped, and the criterion with it.
    KubernetesBadCidr = "kubernetes-bad-cidr", Resources;
    /// A rule with a named port and an `endPort` is dropped.
    KubernetesBadPort = "kubernetes-bad-port", Resources;
    /// An IP set that was never sent holds every address, and in negated criteria none.
    MissingIpSet = "missing-ip-set", Authorizer;
    /// A profile that is named and not there is passed over.
    MissingProfile = "missing-profile", Resources;
    /// Plain text meets every identity criterion where addresses cannot be mapped to accounts.
    PlaintextWithoutMap = "plaintext-without-map", Authorizer;
    /// A Pass in a profile denies.
    ProfilePass = "profile-pass", Verdicts;
    /// A connection without HTTP meets every HTTP criterion.
    RawTcpMeetsHttp = "raw-tcp-meets-http", Verdicts;
    /// Host endpoints, network sets and profiles may carry labels that state an identity.
    ReservedLabels = "reserved-labels", Resources;
    /// `services` without a namespace matches nothing.
    ServiceNamespace = "service-namespace", Resources;
    /// A service without slices has nothing behind it.
    ServiceWithoutSlices = "service-without-slices", Resources;
    /// Any process may use the Policy Sync socket of a workload.
    SocketPeer = "socket-peer", Authorizer;
    /// The pending view keeps the enforced policy beside its staged twin.
    StagedBesideItsTwin = "staged-beside-its-twin", Preview;
    /// A staged deletion has no effect in the pending view.
    StagedDelete = "staged-delete", Preview;
    /// Staged Learn and Ignore count as Set in the pending view.
    StagedLearnIgnore = "staged-learn-ignore", Preview;
    /// Certificate and address are matched apart from each other.
    StolenCertificate = "stolen-certificate", Verdicts;
    /// Any default action of a tier but `Pass` is `Deny`.
    TierDefaultAction = "tier-default-action", Resources;
    /// A list of egress rules that is present but empty governs egress.
    TypesByPresence = "types-by-presence", Resources;
    /// The authorizer's `/terminate` listens on all addresses if none is given.
    UnauthenticatedControl = "unauthenticated-control", Authorizer;
    /// What is not known of a peer counts as no match, in Deny rules, too.
    UnknownIdentity = "unknown-identity", Verdicts;
    /// An absent port is 0, and an absent ICMP type or code, too.
    UnknownPortAndIcmp = "unknown-port-and-icmp", Verdicts;
    /// A part of a rule that cannot be used is skipped when it comes over Policy Sync.
    UnusableRulePart = "unusable-rule-part", Authorizer;
}

impl fmt::Display for CompatPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no point has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not the name of a point of compatibility{}", meant.map(|m| format!(", did you mean `{m}`?")).unwrap_or_default())]
pub struct UnknownPoint {
    /// As written.
    pub name: String,
    /// The name that may have been meant.
    pub meant: Option<&'static str>,
}

impl UnknownPoint {
    /// The same as an error of a field.
    pub fn field(self, field: impl Into<String>) -> FieldError {
        let reason = format!("`{}` is not the name of a point of compatibility", self.name);
        FieldError::new(field, reason).hint(match self.meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "the names are in docs/compat.md; `calico` stands for all".to_owned(),
        })
    }
}

impl FromStr for CompatPoint {
    type Err = UnknownPoint;

    fn from_str(name: &str) -> Result<CompatPoint, UnknownPoint> {
        let found = CompatPoint::ALL.iter().find(|point| point.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&'static str> = CompatPoint::ALL.iter().map(|p| p.name()).collect();
            let meant = tortie_model::nearest(name, &names);
            UnknownPoint { name: name.to_owned(), meant }
        })
    }
}

/// A set of points in which Calico's behaviour is chosen; none by default.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Compat(u64);

impl Compat {
    /// The name that stands for all points.
    pub const ALL_NAME: &str = "calico";

    /// No point: strict throughout.
    pub const STRICT: Compat = Compat(0);

    /// All points.
    pub fn calico() -> Compat {
        CompatPoint::ALL.iter().copied().collect()
    }

    /// Whether Calico's behaviour is chosen in a point.
    pub fn has(self, point: CompatPoint) -> bool {
        self.0 & Compat::bit(point) != 0
    }

    /// Whether every point is strict.
    pub fn is_strict(self) -> bool {
        self == Compat::STRICT
    }

    /// The points of either.
    #[must_use]
    pub fn union(self, other: Compat) -> Compat {
        Compat(self.0 | other.0)
    }

    /// The points, by name.
    pub fn points(self) -> impl Iterator<Item = CompatPoint> {
        CompatPoint::ALL.iter().copied().filter(move |point| self.has(*point))
    }

    /// The set of some names, `calico` among them for all.
    ///
    /// # Errors
    /// Of the first name that no point has.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Compat, UnknownPoint> {
        let mut compat = Compat::STRICT;
        for name in names {
            compat = compat.union(match name {
                Compat::ALL_NAME => Compat::calico(),
                name => Compat::from(name.parse::<CompatPoint>()?),
            });
        }
        Ok(compat)
    }

    fn bit(point: CompatPoint) -> u64 {
        1 << (point as u64)
    }
}

impl From<CompatPoint> for Compat {
    fn from(point: CompatPoint) -> Compat {
        Compat(Compat::bit(point))
    }
}

impl FromIterator<CompatPoint> for Compat {
    fn from_iter<I: IntoIterator<Item = CompatPoint>>(points: I) -> Compat {
        points.into_iter().fold(Compat::STRICT, |all, point| all.union(point.into()))
    }
}

/// Names separated by commas; the empty text is strict.
impl FromStr for Compat {
    type Err = UnknownPoint;

    fn from_str(text: &str) -> Result<Compat, UnknownPoint> {
        match text.trim() {
            "" => Ok(Compat::STRICT),
            text => Compat::parse(text.split(',').map(str::trim)),
        }
    }
}

/// The names separated by commas; `calico` for all, and nothing for none.
impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Compat::calico() {
            return f.write_str(Compat::ALL_NAME);
        }
        let names: Vec<_> = self.points().map(CompatPoint::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compat({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_order() {
        let names: Vec<_> = CompatPoint::ALL.iter().map(|p| p.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
        for point in CompatPoint::ALL {
            assert_eq!(point.name().parse(), Ok(*point));
            assert_eq!(Compat::from(*point).to_string().parse(), Ok(Compat::from(*point)));
        }
        assert_eq!("calico".parse(), Ok(Compat::calico()));
        assert_eq!(Compat::calico().to_string(), "calico");
        assert_eq!(" bad-path, profile-pass".parse::<Compat>().unwrap().points().count(), 2);
        assert!("".parse::<Compat>().unwrap().is_strict());
    }

    #[test]
    fn unknown_names_are_refused() {
        for (text, meant) in [
            ("profile-passs", Some("profile-pass")),
            ("bad-path,bad_path", Some("bad-path")),
            ("Calico", None),
            ("bad-path,", None),
            ("everything", None),
        ] {
            assert_eq!(text.parse::<Compat>().unwrap_err().meant, meant, "{text}");
        }
    }

    /// Every row of the table either has a switch, and then is a point, or says why it has none.
    #[test]
    fn the_document_names_every_point() {
        let document = include_str!("../../../docs/compat.md");
        // The table of FelixConfiguration's fields is another one.
        let (points, _) = document.split_once("\n## FelixConfiguration").expect("the heading");
        let rows = points.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut switched = Vec::new();
        for row in rows {
            let (name, rest) = row.split_once("` |").expect(row);
            let cells: Vec<_> = rest.trim_end_matches(" |").split(" | ").map(str::trim).collect();
            let [_, _, _, switch] = cells.as_slice() else { panic!("five cells: {row}") };
            match name.parse::<CompatPoint>() {
                Ok(point) => {
                    let place = format!("{:?}", point.place()).to_lowercase();
                    assert_eq!(*switch, place, "{name}");
                    switched.push(name);
                }
                Err(_) => assert!(switch.starts_with("none: "), "{name}: {switch}"),
            }
        }
        switched.sort_unstable();
        let points: Vec<_> = CompatPoint::ALL.iter().map(|p| p.name()).collect();
        assert_eq!(switched, points);
    }
}
