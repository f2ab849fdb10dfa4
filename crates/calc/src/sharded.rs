//! A map from addresses that is cheap to copy: copies share what does not change.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

const SHARDS: usize = 256;

/// A map from addresses. A clone shares all entries; a change copies one part in 256 of them, and
/// only if a clone still shares it.
#[derive(Debug, Clone)]
pub struct ByAddress<V> {
    shards: Box<[Arc<HashMap<IpAddr, V>>]>,
}

impl<V> Default for ByAddress<V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        ByAddress { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect() }
    }
}

/// Addresses of one cluster differ in their last bytes.
fn shard(address: &IpAddr) -> usize {
    let byte = match address {
        IpAddr::V4(v4) => v4.octets().iter().fold(0, |sum, byte| sum ^ byte),
        IpAddr::V6(v6) => v6.octets().iter().fold(0, |sum, byte| sum ^ byte),
    };
    usize::from(byte)
}

impl<V> ByAddress<V> {
    /// What belongs to an address.
    pub fn get(&self, address: &IpAddr) -> Option<&V> {
        self.shards.get(shard(address))?.get(address)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }
}

impl<V: Clone> ByAddress<V> {
    /// Puts in an entry; the one that was there before comes out.
    pub fn insert(&mut self, address: IpAddr, value: V) -> Option<V> {
        self.shard_mut(&address)?.insert(address, value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, address: &IpAddr) -> Option<V> {
        self.get(address)?;
        self.shard_mut(address)?.remove(address)
    }

    /// Changes an entry, or a new one; it stays as long as `change` says so.
    pub(crate) fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut V) -> bool)
    where
        V: Default,
    {
        let Some(shard) = self.shard_mut(&address) else { return };
        if !change(shard.entry(address).or_default()) {
            shard.remove(&address);
        }
    }

    fn shard_mut(&mut self, address: &IpAddr) -> Option<&mut HashMap<IpAddr, V>> {
        self.shards.get_mut(shard(address)).map(Arc::make_mut)
    }
}

impl<V: Clone> FromIterator<(IpAddr, V)> for ByAddress<V> {
    fn from_iter<I: IntoIterator<Item = (IpAddr, V)>>(entries: I) -> Self {
        let mut map = ByAddress::default();
        for (address, value) in entries {
            map.insert(address, value);
        }
        map
    }
}

/// Equal if the entries are.
impl<V: PartialEq> PartialEq for ByAddress<V> {
    fn eq(&self, other: &Self) -> bool {
        self.shards == other.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_had() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut map: ByAddress<u8> = (0..9).map(|n| (address(n), n)).collect();
        let before = map.clone();
        assert_eq!(map.remove(&address(3)), Some(3));
        assert_eq!(map.insert(address(4), 44), Some(4));
        map.change(address(5), |value| *value > 5);
        map.change(address(200), |value| {
            *value += 1;
            true
        });
        assert_eq!((map.len(), before.len()), (8, 9));
        assert_eq!((map.get(&address(3)), before.get(&address(3))), (None, Some(&3)));
        assert_eq!((map.get(&address(5)), map.get(&address(200))), (None, Some(&1)));
        assert_eq!(before.iter().map(|(_, n)| u32::from(*n)).sum::<u32>(), 36);
        assert!(map != before && !map.is_empty());
    }
}
