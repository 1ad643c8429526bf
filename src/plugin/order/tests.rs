use super::*;
use proptest::prelude::*;

/// `a 1.0.0 b c@^1 ?d`: a name, a version, what it needs and what it would use; `-` = off, `!` = broken, `*` = required.
#[derive(Clone, Debug)]
struct Fake {
    name: PluginName,
    version: Version,
    dependencies: Vec<Dependency>,
    optional: Vec<Dependency>,
    marks: Vec<char>,
}

impl Fake {
    fn parse(line: &str) -> Fake {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let plain = name.trim_start_matches(['-', '!', '*']);
        let mut fake = Fake {
            name: PluginName::parse(plain).unwrap(),
            version: version.parse().unwrap(),
            dependencies: vec![],
            optional: vec![],
            marks: name[..name.len() - plain.len()].chars().collect(),
        };
        for word in words {
            match word.strip_prefix('?') {
                Some(optional) => fake.optional.push(Dependency::parse(optional).unwrap()),
                None => fake.dependencies.push(Dependency::parse(word).unwrap()),
            }
        }
        fake
    }

    fn candidate(&self) -> Candidate<'_> {
        let standing = match self {
            _ if self.marks.contains(&'-') => Standing::Off,
            _ if self.marks.contains(&'!') => Standing::Broken,
            _ => Standing::On {
                version: &self.version,
                dependencies: &self.dependencies,
                optional: &self.optional,
            },
        };
        Candidate { name: &self.name, standing, required: self.marks.contains(&'*') }
    }
}

fn plan_of(fakes: &[Fake]) -> Plan {
    plan(fakes.iter().map(Fake::candidate))
}

fn planned(lines: &[&str]) -> Plan {
    plan_of(&lines.iter().map(|line| Fake::parse(line)).collect::<Vec<_>>())
}

fn order(plan: &Plan) -> String {
    plan.order.iter().map(PluginName::as_str).collect::<Vec<_>>().join(" ")
}

fn out(plan: &Plan) -> Vec<String> {
    plan.out.iter().map(|(name, reason)| format!("{name}: {reason}")).collect()
}

#[test]
fn each_comes_after_what_it_needs_and_else_by_name() {
    for (lines, expected) in [
        (&["c 1.0.0", "a 1.0.0", "b 1.0.0"][..], "a b c"),
        (&["a 1.0.0 c", "b 1.0.0", "c 1.0.0"], "b c a"),
        (&["a 1.0.0 b", "b 1.0.0 c", "c 1.0.0"], "c b a"),
        (&["a 1.0.0 ?c", "c 1.0.0"], "c a"),
        (&["@x/a 1.0.0 z@^1.2", "z 1.3.0"], "z @x/a"),
        (&["a 1.0.0 b@1.2.3-rc.1", "b 1.2.3-rc.1"], "b a"),
        (&["a 1.0.0 b c", "b 1.0.0 d", "c 1.0.0 d", "d 1.0.0"], "d b c a"),
        (&[], ""),
    ] {
        let plan = planned(lines);
        assert_eq!(
            (order(&plan).as_str(), &plan.out, &plan.warnings),
            (expected, &vec![], &vec![]),
            "{lines:?}"
        );
    }
}

#[test]
fn what_is_needed_and_cannot_be_had_keeps_it_out_and_all_that_need_it() {
    for (lines, rest, reasons) in [
        (&["a 1.0.0 gone@^1", "b 1.0.0"][..], "b", &["a: it needs gone@^1, which is not there"][..]),
        (&["a 1.0.0 b", "-b 1.0.0"], "", &["a: it needs b, which is disabled"]),
        (&["a 1.0.0 b@^2", "b 1.9.0"], "b", &["a: it needs b@^2, and version 1.9.0 is there"]),
        (&["a 1.0.0 b@^1", "b 1.1.0-rc.1"], "b", &["a: it needs b@^1, and version 1.1.0-rc.1 is there"]),
        (
            &["a 1.0.0 b", "b 1.0.0 c", "c 1.0.0 gone", "d 1.0.0"],
            "d",
            &[
                "a: it needs b, which is out",
                "b: it needs c, which is out",
                "c: it needs gone, which is not there",
            ],
        ),
        (&["a 1.0.0 b", "!b 1.0.0"], "", &["a: it needs b, which is out", "b: it cannot be used"]),
        (&["a 1.0.0 a"], "", &["a: it needs itself: a → a"]),
    ] {
        let plan = planned(lines);
        assert_eq!((order(&plan).as_str(), &out(&plan)[..]), (rest, &reasons.map_strings()[..]), "{lines:?}");
        assert_eq!(plan.refusal(), None);
    }
}

trait Strings {
    fn map_strings(&self) -> Vec<String>;
}

impl Strings for &[&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn a_circle_is_said_once_round_and_keeps_out_all_that_need_it() {
    let plan = planned(&["b 1.0.0 c", "c 1.0.0 a", "a 1.0.0 b", "d 1.0.0 a", "e 1.0.0"]);
    let round = "it needs itself: a → b → c → a";
    let expected = [
        format!("a: {round}"),
        format!("b: {round}"),
        format!("c: {round}"),
        "d: it needs a, which is out".into(),
    ];
    assert_eq!((order(&plan).as_str(), out(&plan)), ("e", expected.to_vec()));
}

#[test]
fn what_it_would_use_and_cannot_have_keeps_nobody_out() {
    let plan = planned(&["a 1.0.0 ?gone ?b ?c ?d@^2", "-b 1.0.0", "c 1.0.0 gone", "d 1.0.0"]);
    assert_eq!(order(&plan), "a d");
    assert_eq!(out(&plan), ["c: it needs gone, which is not there"]);
    assert_eq!(plan.warnings, ["a would use d@^2, and version 1.0.0 is there: it does without"]);
}

#[test]
fn those_that_would_use_each_other_both_start() {
    let plan = planned(&["a 1.0.0 ?b", "b 1.0.0 ?a"]);
    assert_eq!((order(&plan).as_str(), plan.out.len(), plan.warnings.len()), ("a b", 0, 2));
    // What is needed still orders.
    let plan = planned(&["a 1.0.0 b", "b 1.0.0 ?a ?c", "c 1.0.0"]);
    assert_eq!(order(&plan), "c b a");
    assert_eq!(
        plan.warnings,
        ["b would use a, which leads back to it: it is not started behind it for that"]
    );
    assert_eq!(order(&planned(&["a 1.0.0 ?a"])), "a");
}

#[test]
fn one_that_is_required_and_stays_out_is_fatal() {
    let plan = planned(&["*a 1.0.0 b", "b 1.0.0 gone", "*!c 1.0.0", "*-d 1.0.0", "*e 1.0.0"]);
    let expected =
        "plugins that are required cannot start:\n  a: it needs b, which is out\n  c: it cannot be used";
    assert_eq!(plan.refusal().as_deref(), Some(expected));
    assert_eq!(order(&plan), "e");
}

#[test]
fn of_two_with_one_name_the_first_counts() {
    assert_eq!(order(&planned(&["a 1.0.0", "a 2.0.0 gone"])), "a");
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A mark, a version, and what it needs: a name, a range, whether it would only use it.
type Drawn = (&'static str, &'static str, Vec<(&'static str, &'static str, bool)>);

fn fakes() -> impl Strategy<Value = Vec<Fake>> {
    let range = prop_oneof![3 => Just(""), 1 => Just("@^1"), 1 => Just("@^2")];
    let needed = (prop::sample::select(&NAMES[..]), range, prop::bool::weighted(0.4));
    let mark = prop_oneof![8 => Just(""), 1 => Just("-"), 1 => Just("!"), 1 => Just("*")];
    let one =
        (mark, prop_oneof![4 => Just("1.0.0"), 1 => Just("2.0.0")], prop::collection::vec(needed, 0..3));
    prop::collection::vec(prop::option::weighted(0.9, one), NAMES.len()).prop_map(|all| {
        let line = |(name, one): (&&str, Option<Drawn>)| {
            let (mark, version, needed) = one?;
            let needed = needed
                .iter()
                .map(|(name, range, optional)| format!(" {}{name}{range}", if *optional { "?" } else { "" }));
            Some(Fake::parse(&format!("{mark}{name} {version}{}", needed.collect::<String>())))
        };
        NAMES.iter().zip(all).filter_map(line).collect()
    })
}

/// Those that can start, by the plainest rule: begin with none, and take in whoever has all that he needs, again and again.
fn oracle(fakes: &[Fake]) -> BTreeSet<String> {
    let mut started: BTreeSet<String> = BTreeSet::new();
    for _ in 0..=fakes.len() {
        for fake in fakes.iter().filter(|fake| !fake.marks.iter().any(|mark| "-!".contains(*mark))) {
            let has = |needed: &Dependency| {
                let other = fakes.iter().find(|other| other.name == needed.name);
                other.is_some_and(|other| {
                    started.contains(other.name.as_str()) && needed.accepts(&other.version)
                })
            };
            if fake.dependencies.iter().all(has) {
                started.insert(fake.name.to_string());
            }
        }
    }
    started
}

/// `earlier[a][b]` = b comes before a, over any number of steps.
fn closure(fakes: &[Fake], started: &BTreeSet<String>) -> BTreeMap<(String, String), bool> {
    let mut steps = BTreeMap::new();
    for fake in fakes {
        for needed in fake.dependencies.iter().chain(&fake.optional) {
            let other = fakes.iter().find(|other| other.name == needed.name);
            if other.is_some_and(|other| needed.accepts(&other.version))
                && started.contains(needed.name.as_str())
            {
                steps.insert((fake.name.to_string(), needed.name.to_string()), true);
            }
        }
    }
    for middle in NAMES {
        for from in NAMES {
            for to in NAMES {
                let both = [(from, middle), (middle, to)].map(|(a, b)| (a.to_owned(), b.to_owned()));
                if both.iter().all(|step| steps.contains_key(step)) {
                    steps.insert((from.to_owned(), to.to_owned()), true);
                }
            }
        }
    }
    steps
}

proptest! {
    #[test]
    fn a_plan_is_what_the_plain_rule_says(fakes in fakes()) {
        let plan = plan_of(&fakes);
        let started = oracle(&fakes);
        let order: Vec<String> = plan.order.iter().map(PluginName::to_string).collect();
        prop_assert_eq!(&order.iter().cloned().collect::<BTreeSet<_>>(), &started);
        // Everyone that is on is in the order or has a reason, and never both.
        let on = fakes.iter().filter(|fake| !fake.marks.contains(&'-')).count();
        prop_assert_eq!(order.len() + plan.out.len(), on);
        prop_assert!(plan.out.iter().all(|(name, _)| !started.contains(name.as_str())));
        let required = |fake: &&Fake| fake.marks.contains(&'*') && !fake.marks.contains(&'-') && !started.contains(fake.name.as_str());
        prop_assert_eq!(plan.fatal.len(), fakes.iter().filter(required).count());
        // Greedy: each is the first by name of those whose turn it can be.
        let earlier = closure(&fakes, &started);
        let waits = |fake: &Fake, for_whom: &Dependency, optional: bool| {
            let step = (fake.name.to_string(), for_whom.name.to_string());
            let circle = earlier.contains_key(&(step.1.clone(), step.0.clone())) || step.0 == step.1;
            let needed = fake.dependencies.iter().any(|needed| needed.name == for_whom.name);
            // The way there may lead over others: one of the wrong version is not waited for.
            let fits = fakes.iter().any(|other| other.name == for_whom.name && for_whom.accepts(&other.version));
            fits && earlier.contains_key(&step) && (!optional || !circle || needed)
        };
        for (at, name) in order.iter().enumerate() {
            let ready = |fake: &&Fake| {
                let known = |needed: &&Dependency, optional| waits(fake, needed, optional) && order[at..].contains(&needed.name.to_string());
                !fake.dependencies.iter().any(|needed| known(&needed, false)) && !fake.optional.iter().any(|used| known(&used, true))
            };
            let first = fakes.iter().filter(|fake| order[at..].contains(&fake.name.to_string())).find(ready);
            prop_assert_eq!(first.map(|fake| fake.name.to_string()), Some(name.clone()));
        }
    }

    #[test]
    fn the_order_of_the_candidates_changes_nothing(
        (fakes, shuffled) in fakes().prop_flat_map(|fakes| (Just(fakes.clone()), Just(fakes).prop_shuffle())),
    ) {
        prop_assert_eq!(plan_of(&fakes), plan_of(&shuffled));
    }
}
