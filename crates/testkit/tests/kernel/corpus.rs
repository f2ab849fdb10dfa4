//! The scenarios under `corpus/verdicts`, in the kernel.

use std::collections::BTreeMap;

use tortie_policy::{Case, Cluster, Compat};
use tortie_testkit::network::{Asked, Network, Scene, may_run};
use tortie_testkit::verdicts::{self, Scenario};

use crate::judge::{Tally, judge};

fn cluster(scenario: &Scenario, compat: Compat) -> Cluster {
    match scenario.mended {
        true => Cluster::build_mended(&scenario.resources, compat),
        false => Cluster::build_with(&scenario.resources, compat).unwrap(),
    }
}

/// The cases of a scenario by the way in which they want resources read. What would be if staged
/// policies were enforced is nothing the kernel knows of.
fn by_compat<'s>(scenario: &'s Scenario, tally: &mut Tally) -> BTreeMap<Compat, Vec<&'s Case>> {
    let mut cases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for case in &scenario.cases {
        match case.staged {
            true => *tally.unfit.entry("Staged".to_owned()).or_default() += 1,
            false => cases.entry(case.compat).or_default().push(case),
        }
    }
    cases
}

fn run(network: &mut Network, scenario: &Scenario, tally: &mut Tally) {
    for (compat, cases) in by_compat(scenario, tally) {
        let cluster = cluster(scenario, compat);
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for case in cases {
            let asked = match Asked::new(&cluster, &case.query, None) {
                Ok(asked) => asked,
                Err(why) => {
                    tally.pass_over(&why);
                    continue;
                }
            };
            let name = format!("{}: {}", scenario.file.display(), case.name);
            for node in Scene::nodes(&cluster, &asked) {
                by_node.entry(node).or_default().push((name.clone(), asked.clone()));
            }
        }
        for (node, flows) in by_node {
            let scene = Scene::new(&cluster, &scenario.resources, compat, node.as_deref()).unwrap();
            judge(network, &scene, &flows, tally)
                .unwrap_or_else(|error| panic!("{}: {error:#}", scenario.file.display()));
        }
    }
}

#[test]
fn the_kernel_gives_the_verdicts_of_the_corpus() {
    if !may_run() {
        return;
    }
    let (mut network, mut tally) = (Network::new().unwrap(), Tally::default());
    let scenarios = verdicts::scenarios().unwrap();
    let cases: usize = scenarios.iter().map(|scenario| scenario.cases.len()).sum();
    for scenario in &scenarios {
        run(&mut network, scenario, &mut tally);
    }
    println!("{} scenarios with {cases} cases: {tally}", scenarios.len());
    assert!(tally.wrong().is_empty(), "{}", tally.wrong());
    assert!(tally.probes >= 700, "hardly anything was tried");
}
