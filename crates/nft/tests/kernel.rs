//! What becomes of batches, and what is heard of them, in the kernel itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashSet;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::net::{DEADLINE, Namespace, possible};
use support::random::{Random, number, overlap};
use support::{constructs, program, required};
use tortie_nft::{
    ApplyError, Counter, Element, Event, Events, Family, Hook, HookPoint, Kernel, Match, Members,
    Netlink, Op, Place, Rule, SetKind, Statement, Verdict,
};

fn protocol(number: u8) -> Rule {
    let matches = vec![Match::Protocol { not: false, number }];
    let statements = vec![Statement::Counter];
    Rule { matches, statements, verdict: Some(Verdict::Accept), origin: None }
}

fn add(chain: &str, place: Place, rule: Rule) -> Op {
    let counter = Counter { packets: 5, bytes: 300 };
    Op::AddRule { chain: chain.into(), place, rule: Arc::new(rule), counter }
}

fn refusal(kernel: &mut Netlink, batch: &[Op]) -> (usize, Option<i32>, String) {
    match kernel.apply(batch) {
        Err(ApplyError::Refused { step, error, op, .. }) => (step, error.raw_os_error(), op),
        other => panic!("{other:?}"),
    }
}

/// The protocols that the rules of chain `c` ask for, by their marks.
fn order(kernel: &mut Netlink) -> Vec<u8> {
    let found = kernel.read().unwrap().unwrap();
    let marks: Vec<_> = (0..=255).map(|number| protocol(number).mark()).collect();
    let number = |mark: &_| marks.iter().position(|other| other == mark).unwrap();
    let rules = found.chains["c"].rules.iter();
    rules.map(|rule| u8::try_from(number(rule.mark.as_ref().unwrap())).unwrap()).collect()
}

#[test]
fn counters_of_one_chain_are_those_of_its_rules() {
    if !possible() {
        return;
    }
    let mut kernel = Namespace::new().kernel();
    let chains = ["c", "d"].map(|name| Op::AddChain(name.into(), None));
    let rules = [("c", 1), ("d", 2), ("c", 3)].map(|(c, n)| add(c, Place::Last, protocol(n)));
    let batch: Vec<_> = [Op::AddTable].into_iter().chain(chains).chain(rules).collect();
    let handles = kernel.apply(&batch).unwrap();
    let counter = Counter { packets: 5, bytes: 300 };
    let all = kernel.counters().unwrap();
    assert_eq!(all.len(), 3);
    for (chain, wanted) in [("c", vec![handles[0], handles[2]]), ("d", vec![handles[1]])] {
        let found = kernel.chain_counters(&chain.into()).unwrap();
        assert_eq!(found, wanted.into_iter().map(|handle| (handle, counter)).collect());
    }
    assert!(kernel.chain_counters(&"nowhere".into()).unwrap().is_empty());
}

#[test]
fn rules_go_where_they_are_put_and_keep_their_counters() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    assert_eq!(kernel.read().unwrap(), None);
    assert!(kernel.apply(&[]).unwrap().is_empty());
    let last = |number| add("c", Place::Last, protocol(number));
    let batch = [Op::AddTable, Op::AddChain("c".into(), None), last(1), last(2), last(3)];
    let handles = kernel.apply(&batch).unwrap();
    let found = kernel.read().unwrap().unwrap();
    let read: Vec<_> = found.chains["c"].rules.iter().map(|rule| rule.handle).collect();
    assert_eq!(read, handles);
    let batch = [
        add("c", Place::Before(handles[0]), protocol(10)),
        add("c", Place::After(handles[1]), protocol(20)),
        add("c", Place::Before(handles[2]), protocol(30)),
        Op::DeleteRule { chain: "c".into(), handle: handles[1] },
    ];
    kernel.apply(&batch).unwrap();
    assert_eq!(order(&mut kernel), [10, 1, 20, 30, 3]);
    let counters = kernel.counters().unwrap();
    assert_eq!(counters.len(), 5);
    assert!(counters.values().all(|counter| *counter == Counter { packets: 5, bytes: 300 }));
    kernel.apply(&[Op::FlushChain("c".into()), last(7)]).unwrap();
    assert_eq!(order(&mut kernel), [7]);
    kernel.apply(&[Op::DeleteTable]).unwrap();
    assert_eq!(kernel.read().unwrap(), None);
}

#[test]
fn a_batch_holds_entirely_or_not_at_all() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let (v4, nets) = (SetKind::Net(Family::V4), constructs::net_elements);
    let table = [Op::AddTable, Op::AddSet("s".into(), v4), Op::AddChain("c".into(), None)];
    kernel.apply(&table).unwrap();
    kernel.apply(&[Op::AddElements("s".into(), v4, nets(&["10.0.0.0/24"]))]).unwrap();
    let before = kernel.read().unwrap().unwrap();
    let good = || Op::AddElements("s".into(), v4, nets(&["10.0.1.0/24"]));
    let (noent, exist, busy, circle, base) = (Some(2), Some(17), Some(16), Some(31), Some(95));
    let jump =
        |to: &str| add("c", Place::Last, constructs::rule(Vec::new(), Verdict::Jump(to.into())));
    let element = |kind, elements| Op::AddElements("s".into(), kind, elements);
    let dispatch = Element::Dispatch("cali1".into(), "c".into());
    let cases: Vec<(Op, Option<i32>, &str)> = vec![
        (Op::DeleteChain("none".into()), noent, "delete chain inet tortie none"),
        (Op::DeleteSet("none".into()), noent, "delete set inet tortie none"),
        (Op::FlushSet("none".into()), noent, "flush set inet tortie none"),
        (Op::DeleteRule { chain: "c".into(), handle: 999 }, noent, "handle 999"),
        (jump("none"), noent, "jump none"),
        (Op::AddSet("s".into(), SetKind::Address(Family::V4)), exist, "add set"),
        (element(v4, nets(&["10.0.0.0/25"])), exist, "add 1 elements of s: 10.0.0.0/25"),
        (Op::DeleteElements("s".into(), v4, nets(&["9.0.0.0/8"])), noent, "delete 1 elements"),
        (element(v4, nets(&["fd00::/64"])), None, "fd00::/64"),
        (element(v4, vec![dispatch]), None, "cali1"),
        (
            add(
                "c",
                Place::Last,
                constructs::of_family(
                    Family::V4,
                    Match::Nets { side: tortie_policy::Side::Source, not: false, nets: Vec::new() },
                ),
            ),
            None,
            "",
        ),
        (Op::AddChain("c".into(), Some(Hook { point: HookPoint::Input, priority: 0 })), base, "c"),
    ];
    for (bad, error, words) in cases {
        let batch = [good(), bad, Op::DeleteChain("another mistake".into())];
        let (step, code, op) = refusal(&mut kernel, &batch);
        assert_eq!((step, code), (1, error), "{op}");
        assert!(op.contains(words), "{op}");
        assert_eq!(kernel.read().unwrap().unwrap(), before, "{op}");
    }
    // Refused only when all is looked at together.
    let lookup = constructs::of_family(
        Family::V4,
        Match::AddressSet {
            side: tortie_policy::Side::Source,
            not: false,
            set: "s".into(),
            family: Family::V4,
        },
    );
    kernel.apply(&[add("c", Place::Last, lookup)]).unwrap();
    let (step, code, _) = refusal(&mut kernel, &[good(), Op::DeleteSet("s".into())]);
    assert_eq!((step, code), (1, busy));
    // Only chains that packets come to are looked at.
    let hook = Some(Hook { point: HookPoint::Input, priority: 0 });
    let mut chain = jump("c");
    if let Op::AddRule { chain, .. } = &mut chain {
        *chain = "base".into();
    }
    kernel.apply(&[Op::AddChain("base".into(), hook), chain]).unwrap();
    let (_, code, op) = refusal(&mut kernel, &[good(), jump("c")]);
    assert!(code == circle && op.contains("jump c"), "{code:?} {op}");
    kernel.apply(&[good()]).unwrap();
}

#[test]
fn elements_come_and_go_one_by_one() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let mut random = Random::new();
    let mut kinds = vec![SetKind::Dispatch];
    kinds.extend(Family::BOTH.into_iter().flat_map(|family| {
        [
            SetKind::Address(family),
            SetKind::Net(family),
            SetKind::AddressPort(family),
            SetKind::InterfaceAddress(family),
            SetKind::InterfaceNet(family),
        ]
    }));
    let mut batch = vec![Op::AddTable];
    batch.extend(["c1", "c2", "c3"].map(|chain| Op::AddChain(chain.into(), None)));
    let named: Vec<_> = (0..).map(|n| format!("s{n}")).zip(kinds).collect();
    batch.extend(named.iter().map(|(name, kind)| Op::AddSet(name.into(), *kind)));
    kernel.apply(&batch).unwrap();
    let mut model: Vec<HashSet<Element>> = vec![HashSet::new(); named.len()];
    for _ in 0..number("FUZZ_ROUNDS").unwrap_or(60) {
        let mut batch = Vec::new();
        for ((name, kind), elements) in named.iter().zip(&mut model) {
            let gone: Vec<_> = elements.iter().filter(|_| random.coin()).cloned().collect();
            elements.retain(|element| !gone.contains(element));
            let mut added = Vec::new();
            for _ in 0..random.below(8) {
                let element = random.element(*kind);
                if elements.iter().all(|other| !overlap(other, &element)) {
                    elements.insert(element.clone());
                    added.push(element);
                }
            }
            batch.push(Op::DeleteElements(name.into(), *kind, gone));
            batch.push(Op::AddElements(name.into(), *kind, added));
        }
        kernel.apply(&batch).unwrap();
        let found = kernel.read().unwrap().unwrap();
        for ((name, kind), elements) in named.iter().zip(&model) {
            let wanted: Members = elements.iter().cloned().collect();
            assert_eq!(found.sets[name.as_str()].elements, wanted, "{kind:?}");
        }
    }
}

fn many(count: u32) -> Vec<Element> {
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + 2 * n);
    (0..count).map(|n| Element::Net(std::net::IpAddr::from(address(n)).into())).collect()
}

#[test]
fn a_batch_may_be_large() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let elements = many(100_000);
    let mut batch = vec![Op::AddTable];
    for (name, kind) in [("h", SetKind::Address(Family::V4)), ("i", SetKind::Net(Family::V4))] {
        batch.push(Op::AddSet(name.into(), kind));
        batch.push(Op::AddElements(name.into(), kind, elements.clone()));
    }
    let rules = 5_000;
    batch.push(Op::AddChain("c".into(), None));
    batch.extend(
        (0..rules).map(|n| add("c", Place::Last, protocol(u8::try_from(n % 256).unwrap()))),
    );
    assert_eq!(kernel.apply(&batch).unwrap().len(), rules);
    let found = kernel.read().unwrap().unwrap();
    let wanted: Members = elements.iter().cloned().collect();
    assert!(found.sets["h"].elements == wanted && found.sets["i"].elements == wanted);
    assert_eq!(found.chains["c"].rules.len(), rules);
}

#[test]
fn what_is_read_is_of_one_generation() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let (mut writer, mut reader) = (namespace.kernel(), namespace.kernel());
    let kind = SetKind::Address(Family::V4);
    let mut batch = vec![Op::AddTable];
    for name in ["a", "b"] {
        batch.push(Op::AddSet(name.into(), kind));
        batch.push(Op::AddElements(name.into(), kind, many(500)));
    }
    writer.apply(&batch).unwrap();
    let one = constructs::net_elements(&["1.2.3.4/32"]);
    writer.apply(&[Op::AddElements("a".into(), kind, one.clone())]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = ("a", "b");
            while !done.load(Ordering::Relaxed) {
                let delete = Op::DeleteElements(from.into(), kind, one.clone());
                let batch = [delete, Op::AddElements(to.into(), kind, one.clone())];
                writer.apply(&batch).unwrap();
                (from, to) = (to, from);
                thread::park_timeout(std::time::Duration::from_millis(2));
            }
        });
        for _ in 0..100 {
            let found = reader.read().unwrap().unwrap();
            let there = ["a", "b"].map(|name| found.sets[name].elements.contains(&one[0]));
            assert_ne!(there[0], there[1]);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_cannot_be_said_is_noticed() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    namespace.load(
        "table inet tortie {\n\
           set range { type ipv4_addr; flags interval; elements = { 10.0.0.1-10.0.0.4, 1.0.0.0/8 }; }\n\
           set alien { type mark; elements = { 1 }; }\n\
           set times { type ipv4_addr; flags timeout; }\n\
           map verdicts { type ifname : verdict; elements = { \"a\" : drop, \"b\" : goto x }; }\n\
           chain x { accept comment \"somebody's\"; }\n\
           chain drops { type filter hook input priority 0; policy drop; }\n\
           chain nats { type nat hook prerouting priority 0; policy accept; }\n\
         }\n\
         table ip tortie { chain y { }; }\n",
    );
    let found = namespace.kernel().read().unwrap().unwrap();
    let chain = |name: &str| (found.chains[name].hook, found.chains[name].strange);
    assert_eq!(found.chains.len(), 3);
    assert_eq!(chain("x"), (None, false));
    assert_eq!(found.chains["x"].rules[0].mark, None);
    assert_eq!(chain("drops"), (None, true));
    assert_eq!(chain("nats"), (None, true));
    assert_eq!(found.sets["alien"].kind, None);
    assert_eq!(found.sets["times"].kind, None);
    let (range, verdicts) = (&found.sets["range"], &found.sets["verdicts"]);
    assert!(range.strange && verdicts.strange);
    assert_eq!(range.elements, constructs::net_elements(&["1.0.0.0/8"]).into_iter().collect());
    assert_eq!(verdicts.elements, [Element::Dispatch("b".into(), "x".into())].into());
}

/// Waits for what is heard next.
fn next(events: &mut Events) -> Event {
    let timeout = Timespec { tv_sec: DEADLINE.as_secs().try_into().unwrap(), tv_nsec: 0 };
    loop {
        if let Some(event) = events.read().unwrap() {
            return event;
        }
        let mut fds = [PollFd::new(&*events, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "nothing within {DEADLINE:?}");
    }
}

#[test]
fn what_others_do_is_heard() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let mut events = namespace.events(&kernel);
    let (_, ruleset) = constructs::all().into_iter().find(|(name, _)| *name == "dispatch").unwrap();
    kernel.apply(&program(&ruleset)).unwrap();
    namespace.load("table inet another { chain c { }; }");
    namespace.load("table ip tortie { chain c { }; }");
    assert_eq!(events.read().unwrap(), None);
    for change in [
        "add chain inet tortie more",
        "add rule inet tortie more accept",
        "flush chain inet tortie more",
        "delete chain inet tortie more",
        "delete element inet tortie endpoints { \"cali1\" }",
        "flush map inet tortie endpoints",
        "flush ruleset",
    ] {
        namespace.load(change);
        let generation = kernel.generation().unwrap();
        assert_eq!(next(&mut events), Event::Touched { generation }, "{change}");
        assert_eq!(events.read().unwrap(), None, "{change}");
    }
}

/// Runs [`inside`] in a user namespace, where root has no privilege over sockets' buffers.
#[test]
fn as_an_ordinary_user() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command
    };
    let works = unshare().arg("true").status().is_ok_and(|status| status.success());
    if required(works.then_some(()), "user namespaces").is_none() {
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let output = unshare().arg(exe).args(["--ignored", "--exact", "inside"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// With small buffers: handles that are looked for instead of echoed, answers that are lost, and a
/// batch that is too big.
#[test]
#[ignore = "runs within `as_an_ordinary_user`"]
fn inside() {
    let mut kernel = Netlink::new().unwrap();
    kernel.apply(&[Op::AddTable, Op::AddChain("c".into(), None)]).unwrap();
    let rules = |count: usize| -> Vec<Op> {
        // Equal rules too, some of which were there before.
        (0..count).map(|n| add("c", Place::Last, protocol(u8::try_from(n % 7).unwrap()))).collect()
    };
    kernel.apply(&rules(10)).unwrap();
    let handles = kernel.apply(&rules(buffer("rmem_max") / 500)).unwrap();
    let found = kernel.read().unwrap().unwrap();
    let read: Vec<_> = found.chains["c"].rules.iter().map(|rule| rule.handle).collect();
    assert_eq!(read[10..], handles);

    let mistake = |n| Op::DeleteChain(format!("none{n}").into());
    let mistakes: Vec<_> = (0..buffer("rmem_max") / 300).map(mistake).collect();
    let (step, code, _) = refusal(&mut kernel, &mistakes);
    assert_eq!((step, code), (0, Some(2)));

    let kind = SetKind::Address(Family::V4);
    let elements = many(u32::try_from(buffer("wmem_max") / 16 + 1000).unwrap());
    let large = [Op::AddSet("s".into(), kind), Op::AddElements("s".into(), kind, elements)];
    match kernel.apply(&large) {
        Err(ApplyError::Io(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("net.core.wmem_max"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(kernel.read().unwrap().unwrap().sets.len(), 0);
    kernel.apply(&[Op::DeleteTable]).unwrap();
}

/// Bytes of a buffer that everybody may have. A socket's is twice that, for bookkeeping.
fn buffer(name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap();
    2 * text.trim().parse::<usize>().unwrap()
}
