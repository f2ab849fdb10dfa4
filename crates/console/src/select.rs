//! How many endpoints a selector selects, without asking it of each of them.

use std::collections::HashMap;

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
        }
    }
}
