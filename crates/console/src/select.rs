//! How many endpoints a selector selects, without asking it of each of them, or of all again when
//! one has changed.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;

use tortie_policy::Labels;
use tortie_selector::Selector;

/// The labels of some endpoints, found by any one of them.
#[derive(Debug, Default)]
pub(crate) struct Endpoints<'a> {
    all: Vec<&'a Labels>,
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Labels>>,
}

impl<'a> Endpoints<'a> {
    /// Those with these labels.
    pub(crate) fn new(all: impl IntoIterator<Item = &'a Labels>) -> Endpoints<'a> {
        let mut endpoints = Endpoints { all: all.into_iter().collect(), ..Endpoints::default() };
        for labels in &endpoints.all {
            for (key, value) in *labels {
                endpoints.by_label.entry((key, value)).or_default().push(labels);
            }
        }
        endpoints
    }

    /// How many of them a selector selects.
    pub(crate) fn count(&self, selector: &Selector) -> usize {
        let restrictions = selector.restrictions();
        if restrictions.is_impossible() {
            return 0;
        }
        // An endpoint has one value of a label, so it is in one of the lists.
        let with = |label, value| self.by_label.get(&(label, value)).map_or(&[][..], Vec::as_slice);
        let lists = restrictions.iter().filter_map(|(label, restriction)| {
            let values = restriction.one_of()?;
            Some(values.iter().map(|value| with(label, *value)).collect::<Vec<_>>())
        });
        let fewest = lists.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        let lists = fewest.unwrap_or_else(|| vec![&self.all]);
        lists.into_iter().flatten().filter(|labels| selector.matches(**labels)).count()
    }
}

/// So many endpoints for each one that has changed make it cheaper to correct than to count again.
const FEW: usize = 8;

/// How many endpoints selectors select, by their canonical form; kept from one time to the next.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<Box<str>, usize>);

impl Tally {
    /// Counts for selectors, after some endpoints have come and others, that were there the last
    /// time, have gone. What is known is corrected.
    pub(crate) fn update<'a>(
        &mut self,
        selectors: impl Iterator<Item = &'a Selector>,
        all: &[&Labels],
        come: &[Arc<Labels>],
        gone: &[Arc<Labels>],
    ) {
        let mut known = std::mem::take(&mut self.0);
        if (come.len() + gone.len()) * FEW > all.len() {
            known.clear();
        }
        let endpoints = LazyCell::new(|| Endpoints::new(all.iter().copied()));
        let among = |some: &[Arc<Labels>], selector: &Selector| {
            some.iter().filter(|labels| selector.matches(&***labels)).count()
        };
        for selector in selectors {
            if self.0.contains_key(selector.canonical()) {
                continue;
            }
            let (name, count) = match known.remove_entry(selector.canonical()) {
                Some((name, count)) => {
                    (name, (count + among(come, selector)).saturating_sub(among(gone, selector)))
                }
                None => (selector.canonical().into(), endpoints.count(selector)),
            };
            self.0.insert(name, count);
        }
    }

    /// How many a selector selects that was there the last time.
    pub(crate) fn of(&self, selector: &Selector) -> usize {
        self.0.get(selector.canonical()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_matches() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
        };
        let all = [
            labels(&[("app", "a"), ("ns", "x")]),
            labels(&[("app", "a"), ("ns", "y")]),
            labels(&[("app", "b"), ("ns", "y")]),
            labels(&[]),
        ];
        let endpoints = Endpoints::new(&all);
        for selector in [
            "all()",
            "app == 'a'",
            "app == 'a' && ns == 'y'",
            "app in {'a', 'b'}",
            "app in {'a', 'c'} && ns in {'x', 'y'}",
            "app == 'a' || ns == 'y'",
            "app == 'a' && app == 'b'",
            "has(app)",
            "!has(app)",
            "app != 'a'",
            "app == 'none'",
        ] {
            let selector: Selector = selector.parse().unwrap();
            let expected = all.iter().filter(|labels| selector.matches(*labels)).count();
            assert_eq!(endpoints.count(&selector), expected, "{}", selector.canonical());
            // Known before the last came, and again after the first is gone.
            let all: Vec<_> = all.iter().cycle().take(2 * FEW * all.len()).collect();
            let (first, last) = (Arc::new(all[0].clone()), Arc::new(all[all.len() - 1].clone()));
            let mut tally = Tally::default();
            tally.update([&selector].into_iter(), &all[..all.len() - 1], &[], &[]);
            tally.update([&selector].into_iter(), &all[1..], &[last], &[first]);
            assert_eq!(
                tally.of(&selector),
                Endpoints::new(all[1..].iter().copied()).count(&selector)
            );
        }
    }
}
