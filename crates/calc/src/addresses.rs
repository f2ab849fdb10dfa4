//! Who uses which address.

use std::net::IpAddr;

use hashbrown::HashMap;
use tortie_policy::Account;

use crate::index::Pair;
use crate::intern::{Atom, Interner};
use crate::what::{What, Workload};

/// The service accounts of the workloads that use an address, each workload's once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Users {
    One(Pair),
    Many(Vec<Pair>),
}

/// Who uses which address. A service account is its namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    users: HashMap<IpAddr, Users>,
    /// Addresses whose users changed, and who they were when last told.
    touched: HashMap<IpAddr, Option<Users>>,
    /// Whether changes are noted: not before all was told.
    told: bool,
}

impl Addresses {
    /// Somebody is not what it was, is new, or is gone.
    pub(crate) fn change(&mut self, was: Option<&What>, is: Option<&What>) {
        let (was, is) = (workload(was), workload(is));
        if let (Some(was), Some(is)) = (was, is)
            && (was.user, &was.addresses) == (is.user, &is.addresses)
        {
            return;
        }
        for (address, user) in uses(was) {
            self.note(address);
            self.remove(address, user);
        }
        for (address, user) in uses(is) {
            self.note(address);
            self.add(address, user);
        }
    }

    fn note(&mut self, address: IpAddr) {
        if self.told {
            let users = &self.users;
            self.touched.entry(address).or_insert_with(|| users.get(&address).cloned());
        }
    }

    fn add(&mut self, address: IpAddr, user: Pair) {
        let Some(users) = self.users.get_mut(&address) else {
            self.users.insert(address, Users::One(user));
            return;
        };
        match users {
            Users::One(one) => *users = Users::Many(vec![*one, user]),
            Users::Many(list) => list.push(user),
        }
        // By number, so that equal users compare as equal.
        if let Users::Many(list) = users {
            list.sort_unstable();
        }
    }

    fn remove(&mut self, address: IpAddr, user: Pair) {
        let Some(users) = self.users.get_mut(&address) else { return };
        let left = match users {
            Users::One(_) => None,
            Users::Many(list) => {
                if let Some(place) = list.iter().position(|other| *other == user) {
                    list.remove(place);
                }
                match list.as_slice() {
                    [one] => Some(Users::One(*one)),
                    _ => return,
                }
            }
        };
        match left {
            Some(left) => *users = left,
            None => drop(self.users.remove(&address)),
        }
    }

    /// The addresses whose users are not those told before, in order, with their users now; at the
    /// first time all addresses.
    pub(crate) fn changes(&mut self, texts: &Interner) -> Vec<(IpAddr, Vec<Account>)> {
        let first = !std::mem::replace(&mut self.told, true);
        let mut changed: Vec<IpAddr> = match first {
            true => self.users.keys().copied().collect(),
            false => {
                let users = &self.users;
                let touched = self.touched.drain();
                touched
                    .filter(|(address, was)| users.get(address) != was.as_ref())
                    .map(|(address, _)| address)
                    .collect()
            }
        };
        changed.sort_unstable();
        changed.into_iter().map(|address| (address, self.accounts(address, texts))).collect()
    }

    /// In order of their names.
    fn accounts(&self, address: IpAddr, texts: &Interner) -> Vec<Account> {
        let users = match self.users.get(&address) {
            None => &[][..],
            Some(Users::One(one)) => std::slice::from_ref(one),
            Some(Users::Many(list)) => list,
        };
        let text = |atom| texts.text(atom).clone();
        let account = |user: &Pair| Account { namespace: text(user.0), name: text(user.1) };
        let mut accounts: Vec<Account> = users.iter().map(account).collect();
        accounts.sort();
        accounts
    }

    /// Calls `visit` with each text that is in use here.
    pub(crate) fn for_each_atom(&self, visit: &mut dyn FnMut(Atom)) {
        let all = self.users.values().chain(self.touched.values().flatten());
        for users in all {
            let list = match users {
                Users::One(one) => std::slice::from_ref(one),
                Users::Many(list) => list,
            };
            for (namespace, name) in list {
                visit(*namespace);
                visit(*name);
            }
        }
    }
}

fn workload(what: Option<&What>) -> Option<&Workload> {
    match what {
        Some(What::Workload(workload)) if workload.is_endpoint() => Some(workload),
        _ => None,
    }
}

fn uses(workload: Option<&Workload>) -> impl Iterator<Item = (IpAddr, Pair)> + '_ {
    workload.into_iter().flat_map(|w| w.addresses.iter().map(|address| (*address, w.user)))
}
