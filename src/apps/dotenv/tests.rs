use super::*;
use crate::testing;
use proptest::prelude::*;
use std::process::Command;

fn read(text: &[u8]) -> BTreeMap<String, String> {
    merge(text, &BTreeMap::new(), &BTreeMap::new()).unwrap()
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Files and what they must give. Bun is asked about all of them, too.
fn table() -> Vec<(&'static str, BTreeMap<String, String>)> {
    vec![
        ("", map([])),
        ("A=1\nB = 2 \nexport C=3\n  D=4", map([("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")])),
        ("A=1\r\nB=\"x\r\ny\"\r\nC=3", map([("A", "1"), ("B", "x\ny"), ("C", "3")])),
        ("\u{feff}A=1\nB=2", map([("A", "1"), ("B", "2")])),
        (
            "# c\n #d\nA=a#b\nB=a #b\nC=\"a#b\" # c\nD=#x",
            map([("A", "a"), ("B", "a"), ("C", "a#b"), ("D", "")]),
        ),
        ("A=\nB=\"\"\nC=''", map([("A", ""), ("B", ""), ("C", "")])),
        ("A=\"x\ny\"\nB='x\ny'\nC=`x\ny`", map([("A", "x\ny"), ("B", "x\ny"), ("C", "x\ny")])),
        (r#"A="a\nb\tc\"d\\e""#, map([("A", "a\nb\\tc\\\"d\\\\e")])),
        (r"A='a\nb\'c'", map([("A", r"a\nb\'c")])),
        ("A=`a\"b'c`\nB=\"it's\"\nC='it's'", map([("A", "a\"b'c"), ("B", "it's"), ("C", "it")])),
        ("A=\"open\nB=2", map([("A", "\"open"), ("B", "2")])),
        ("A=\"x\" B=1\nC=\"x\";D=2", map([("A", "x"), ("C", "x")])),
        ("A=\n\"x\"", map([("A", "x")])),
        ("A: 1\nB:2\nC : 3\nD:\tx", map([("A", "1"), ("C", "3"), ("D", "x")])),
        ("A-B=1\nC.D=2\n1E=3", map([("A-B", "1"), ("C.D", "2"), ("1E", "3")])),
        ("export=5", map([("export", "5")])),
        ("export A\nexport export B=1\nexport\tC=1", map([("C", "1")])),
        ("=5\nA B=1\n\"C\"=1\nD", map([])),
        ("A\n=1", map([("A", "1")])),
        ("A=1\nA=2", map([("A", "2")])),
        ("A=caf\u{e9} \u{1f600}", map([("A", "caf\u{e9} \u{1f600}")])),
        ("B=1\nA=$B-${B}-${C:-d}-${C}-\\$B", map([("A", "1-1-d--$B"), ("B", "1")])),
        ("A='$B'\nB=1", map([("A", "1"), ("B", "1")])),
        ("A=$B\nB=$C\nC=3", map([("A", "$C"), ("B", "3"), ("C", "3")])),
        ("A=1\nA=$A:2", map([("A", "$A:2:2")])),
        ("C=1\nA=${B:-a${C:-z}b}d", map([("C", "1"), ("A", "a1bd")])),
        ("A=${B:-${C:-x}}", map([("A", "x")])),
        ("B=\nA=${B:-d}", map([("A", ""), ("B", "")])),
        (
            "A=$\nB=a$-b\nC=$$A\nD=${}\nE=${A",
            map([("A", "$"), ("B", "a$-b"), ("C", "$$"), ("D", ""), ("E", "${A")]),
        ),
        ("A=${B-a}\nC=${ B }\nD=${B:-a}b}", map([("A", "${B-a}"), ("C", "${ B }"), ("D", "ab}")])),
        ("B=1\nA=\\\\$B\nC=\"\\$B\"\nD=\\${B}", map([("A", "\\$B"), ("B", "1"), ("C", "$B"), ("D", "${B}")])),
        ("A=${B:-a\\}c}\nD=x\\", map([("A", "a\\}c"), ("D", "x\\")])),
    ]
}

#[test]
fn a_file_is_read_by_bun_s_grammar() {
    for (text, expected) in table() {
        assert_eq!(read(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn the_file_wins_over_what_is_below_and_yields_to_what_is_above() {
    let below = map([("A", "below"), ("B", "below"), ("X", "x")]);
    let above = map([("B", "above"), ("Y", "y")]);
    let merged = merge(b"A=file\nB=file\nC=$B-$X-$Y-$A", &below, &above).unwrap();
    let expected = map([("A", "file"), ("B", "above"), ("C", "above-x-y-file"), ("X", "x"), ("Y", "y")]);
    assert_eq!(merged, expected);
}

#[test]
fn what_no_process_could_be_given_is_an_error() {
    let none = BTreeMap::new();
    assert_eq!(merge(b"A=x\0y", &none, &none), Err(DotenvError::Nul("A".into())));
    assert_eq!(merge(&[b' '; MAX_FILE + 1], &none, &none), Err(DotenvError::TooLarge(MAX_FILE + 1)));
}

#[test]
fn doubling_values_end_in_an_error_not_in_memory() {
    let lines: String = (1..64).map(|n| format!("A{n}=$A{0}$A{0}\n", n - 1)).collect();
    let refusal = merge(format!("A0=xxxxxxxx\n{lines}").as_bytes(), &BTreeMap::new(), &BTreeMap::new());
    assert!(matches!(refusal, Err(DotenvError::TooLong(_))), "{refusal:?}");
}

#[test]
fn defaults_nested_without_end_do_not_exhaust_the_stack() {
    let text = format!("A={}{}", "${B:-".repeat(20_000), "}".repeat(20_000));
    assert!(read(text.as_bytes()).contains_key("A"));
}

/// What Bun makes of the same file, when it is left to read it.
fn ask_bun(bun: &std::path::Path, dir: &std::path::Path, text: &str) -> BTreeMap<String, String> {
    std::fs::write(dir.join(".env"), text).unwrap();
    let script = "process.stdout.write(JSON.stringify(process.env))";
    let output = Command::new(bun).args(["-e", script]).current_dir(dir).env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn bun_reads_the_table_the_same() {
    let Some(bun) = testing::bun("bun_reads_the_table_the_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in table() {
        assert_eq!(ask_bun(&bun, dir.path(), text), expected, "{text:?}");
    }
}

#[test]
fn bun_reads_generated_files_the_same() {
    let Some(bun) = testing::bun("bun_reads_generated_files_the_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let piece = prop_oneof![
        prop::sample::select(vec![
            "A=", "B=", "C: ", "export ", "\n", "\n", "\r\n", "\"", "'", "`", "$A", "${B}", "${C:-", "}",
            "\\", "\\$", "#", " ", "\t", "x", "\\n", "é", "=", ":",
        ])
        .prop_map(String::from),
        "[a-z0-9]{1,3}",
    ];
    let files = prop::collection::vec(piece, 1..24).prop_map(|pieces| pieces.concat());
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
    runner
        .run(&files, |text| {
            prop_assert_eq!(read(text.as_bytes()), ask_bun(&bun, dir.path(), &text));
            Ok(())
        })
        .unwrap();
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[A-C=:$\\{\\}\\\\\"'`#\n\r xé-]{0,60}") {
        let _ = merge(&bytes, &BTreeMap::new(), &BTreeMap::new());
        let _ = merge(text.as_bytes(), &BTreeMap::new(), &BTreeMap::new());
    }
}
