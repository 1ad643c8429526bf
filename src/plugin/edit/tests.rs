use super::*;
use proptest::prelude::*;
use serde_json::json;

#[track_caller]
fn sets(text: &str, path: &[&str], value: Json, expected: &str) {
    assert_eq!(set(text, path, &value).as_deref(), Ok(expected));
}

#[track_caller]
fn removes(text: &str, path: &[&str], expected: &str) {
    assert_eq!(remove(text, path).as_deref(), Ok(expected));
}

#[test]
fn a_value_is_exchanged_and_all_else_stays() {
    for (text, value, expected) in [
        ("# top\nenabled: true # yes\nb: 2\n", json!(false), "# top\nenabled: false # yes\nb: 2\n"),
        ("enabled:   true", json!(false), "enabled:   false"),
        ("enabled: # why\nb: 1\n", json!(true), "enabled: true # why\nb: 1\n"),
        ("enabled:\nb: 1\n", json!(true), "enabled: true\nb: 1\n"),
        ("enabled: ~", json!(true), "enabled: true"),
        ("\"enabled\": 'a # b' # c\n", json!("x y"), "\"enabled\": \"x y\" # c\n"),
        ("'enabled' : \"a\\\"b\"   # c\n", json!("x"), "'enabled' : x   # c\n"),
        ("enabled: a long\n  text\nb: 1\n", json!("c"), "enabled: c\nb: 1\n"),
        ("enabled:\n  below\nb: 1\n", json!(5), "enabled: 5\nb: 1\n"),
        ("enabled: &x old\nb: 1\n", json!("new"), "enabled: new\nb: 1\n"),
        ("enabled: !!str 5 # t\n", json!(5), "enabled: 5 # t\n"),
        ("enabled: ünï # ü\nb: ü\n", json!("é"), "enabled: \"é\" # ü\nb: ü\n"),
        ("b: [1,\n  2] # x\nenabled: true\n", json!(false), "b: [1,\n  2] # x\nenabled: false\n"),
        ("enabled: true\r\nb: 1\r\n", json!(false), "enabled: false\r\nb: 1\r\n"),
        ("---\nenabled: true\n...\n", json!(false), "---\nenabled: false\n...\n"),
        ("  enabled: true\n  b: 1\n", json!(false), "  enabled: false\n  b: 1\n"),
        ("\u{feff}enabled: true\n", json!(false), "\u{feff}enabled: false\n"),
        ("enabled:\ttrue\t# t\n", json!(false), "enabled:\tfalse\t# t\n"),
    ] {
        sets(text, &["enabled"], value, expected);
    }
}

#[test]
fn a_text_is_written_so_that_it_is_read_as_one() {
    for text in [
        "",
        " ",
        "true",
        "No",
        "null",
        "~",
        "5",
        "1e3",
        "0x1f",
        ".inf",
        "a: b",
        "a #b",
        "- a",
        "${VAR}",
        "'",
        "\"",
        "\\",
        "a\nb",
        "\t",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "😀",
        "/a/b",
        "@team/x",
        "*x",
        "&x",
        "!x",
        "%x",
        "{",
        "[",
        ",",
        "?",
        "|",
        ">",
        "=",
        "<<",
        "2020-01-01",
        "---",
        "...",
        "a, b",
    ] {
        for yaml in ["a: 1\n", "{a: 1, b: 2}", ""] {
            let changed = set(yaml, &["a"], &json!(text)).unwrap();
            let read: Value = serde_yaml::from_str(&changed).unwrap();
            assert_eq!(read["a"], Value::String(text.into()), "{changed}");
            assert!(set(yaml, &[text], &json!(1)).is_ok(), "as a key: {text:?}");
        }
    }
    sets("a: 1\n", &["a"], json!("/usr/bin"), "a: /usr/bin\n");
    sets("a: 1\n", &["a"], json!("on"), "a: \"on\"\n");
}

#[test]
fn a_key_that_is_missing_comes_behind_the_last() {
    for (text, expected) in [
        ("", "new: 1\n"),
        ("# only a comment", "# only a comment\nnew: 1"),
        ("# c\n", "# c\nnew: 1\n"),
        ("---\n", "---\nnew: 1\n"),
        ("--- # c\n# d\n...\n", "--- # c\nnew: 1\n# d\n...\n"),
        ("{}\n", "{new: 1}\n"),
        ("{a: 1, b: [2]}\n", "{a: 1, b: [2], new: 1}\n"),
        ("{a: 1,}", "{a: 1, new: 1,}"),
        ("{\n  a: 1 # c\n}\n", "{\n  a: 1, new: 1 # c\n}\n"),
        ("a: 1", "a: 1\nnew: 1"),
        ("a: 1 # c\n\n# end\n", "a: 1 # c\nnew: 1\n\n# end\n"),
        ("a:\n  - x\n  - y # c\n# end\n", "a:\n  - x\n  - y # c\nnew: 1\n# end\n"),
        ("a:\n- x\n-\n# end\n", "a:\n- x\n-\nnew: 1\n# end\n"),
        ("a: |\n  text\n\n# end\n", "a: |\n  text\n\nnew: 1\n# end\n"),
        ("a: |+\n  text\n\n", "a: |+\n  text\n\nnew: 1\n"),
        ("b: 1\n# c\na: |\n  text", "b: 1\n# c\nnew: 1\na: |\n  text"),
        ("  a: 1\r\n", "  a: 1\r\n  new: 1\r\n"),
        ("a:\n", "a:\nnew: 1\n"),
        ("? a\n: 1\n? b\n: 2\n", ""),
    ] {
        match expected {
            "" => assert_eq!(set(text, &["new"], &json!(1)), Err(EditError::Style("new".into()))),
            expected => sets(text, &["new"], json!(1), expected),
        }
    }
}

#[test]
fn a_path_leads_into_maps_and_makes_those_that_are_missing() {
    let text = "a:\n  # about b\n  b: 1 # one\n  c: {d: [1, 2], e: 'x'} # flow\n";
    sets(text, &["a", "b"], json!(2), "a:\n  # about b\n  b: 2 # one\n  c: {d: [1, 2], e: 'x'} # flow\n");
    sets(
        text,
        &["a", "c", "e"],
        json!(["z"]),
        "a:\n  # about b\n  b: 1 # one\n  c: {d: [1, 2], e: [z]} # flow\n",
    );
    sets("a: 1\n", &["b", "c", "d"], json!(true), "a: 1\nb:\n  c:\n    d: true\n");
    sets("a:\n", &["a", "b"], json!(1), "a:\n  b: 1\n");
    sets("a: {}\n", &["a", "b"], json!(1), "a:\n  b: 1\n");
    assert_eq!(set("a: {b: 1}\n", &["a", "b", "c"], &json!(1)), Err(EditError::NotAMap("a.b".into())));
}

#[test]
fn lists_and_maps_are_written_on_lines_of_their_own() {
    let value = json!({"list": ["a", {"b": 1, "c": []}], "map": {"d": {"e": null}}, "none": {}});
    let lines = "a:\n  list:\n    - a\n    - b: 1\n      c: []\n  map:\n    d:\n      e: null\n  none: {}\n";
    sets("a: 1\n", &["a"], value.clone(), lines);
    sets("{a: 1}", &["a"], value, "{a: {list: [a, {b: 1, c: []}], map: {d: {e: null}}, none: {}}}");
    sets("a: [1] # c\nb: 2\n", &["a"], json!([2, 3]), "a:\n  - 2\n  - 3 # c\nb: 2\n");
}

#[test]
fn of_a_map_only_what_differs_is_touched() {
    let text = "\
hosts:
  # the shop
  shop.example.com: {app: shop@1} # live
  # the rest
  '*.example.com':
    app: site # any
    # redirects
    redirect: old
  gone.example.com: x
other: 1
";
    let value = json!({
        "shop.example.com": {"app": "shop@2"},
        "*.example.com": {"app": "site"},
        "new.example.com": {"app": "new"},
    });
    let expected = "\
hosts:
  # the shop
  shop.example.com: {app: \"shop@2\"} # live
  # the rest
  '*.example.com':
    app: site # any
    # redirects
  new.example.com:
    app: new
other: 1
";
    sets(text, &["hosts"], value, expected);
}

#[test]
fn items_of_a_list_are_changed_where_they_stand() {
    let text = "l:\n  - a # one\n  - name: x # two\n    # three\n    to: y\n";
    let value = json!(["b", {"name": "x", "to": "z"}]);
    sets(text, &["l"], value, "l:\n  - b # one\n  - name: x # two\n    # three\n    to: z\n");
    // The first of an item begins behind its `-`.
    let value = json!(["a", {"to": "y"}]);
    sets(text, &["l"], value, "l:\n  - a # one\n  # three\n  - to: y\n");
}

#[test]
fn comments_in_what_is_replaced_are_put_above_it() {
    sets(
        "a: # on it\n  - x # first\n  # between\n  - '# no'\nb: 1\n",
        &["a"],
        json!(1),
        "# on it\n# first\n# between\na: 1\nb: 1\n",
    );
    sets("a: | # head\n  # text\n  x\nb: 1\n", &["a"], json!(1), "# head\na: 1\nb: 1\n");
    sets("m:\n  a: [1, # one\n    2]\n", &["m", "a"], json!([]), "m:\n  # one\n  a: []\n");
}

#[test]
fn a_key_is_taken_away_with_its_lines_and_comment_lines_stay() {
    for (text, expected) in [
        ("# c\na: 1 # x\nb: 2\n", "# c\nb: 2\n"),
        ("b: 2\na: 1", "b: 2\n"),
        ("b: 2\na:\n  # in\n  - 1\n\n# end\n", "b: 2\n# in\n\n# end\n"),
        ("b: 2\r\na: |\r\n  x\r\n\r\nc: 3\r\n", "b: 2\r\n\r\nc: 3\r\n"),
        ("a: 1\n", ""),
        ("{a: 1, b: 2}", "{b: 2}"),
        ("{b: 2, a: 1}", "{b: 2}"),
        ("{b: 2, a: 1,}", "{b: 2,}"),
        ("{a: 1}", "{}"),
        ("b: 2\n", "b: 2\n"),
        ("", ""),
    ] {
        removes(text, &["a"], expected);
    }
    removes("a: {b: 1}\n", &["a", "b"], "a: {}\n");
    removes("a:\n  b: 1\nc: 2\n", &["a", "b"], "a: {}\nc: 2\n");
    removes("a: 1\n", &["a", "b"], "a: 1\n");
}

#[test]
fn a_damaged_file_is_never_the_outcome() {
    // Another key says what the anchor says.
    assert_eq!(set("a: &x 1\nb: *x\n", &["a"], &json!(2)), Err(EditError::Style("a".into())));
    // The one that refers to it may change.
    sets("a: &x 1\nb: *x # c\n", &["b"], json!(2), "a: &x 1\nb: 2 # c\n");
    for text in ["- a\n", "text", "5\n"] {
        assert_eq!(set(text, &["a"], &json!(1)), Err(EditError::NotAMap("".into())), "{text}");
    }
    for text in ["a: [", "a: 1\na: 2\n", "\ta: 1\n", "a: 1\n---\nb: 2\n"] {
        assert!(matches!(set(text, &["a"], &json!(1)), Err(EditError::Yaml(_))), "{text}");
    }
}

#[test]
fn what_is_the_same_is_not_written_anew() {
    let text = "a: 'x'   # c\nb:   [1,2]\n";
    sets(text, &["a"], json!("x"), text);
    sets(text, &["b"], json!([1, 2]), text);
}

/// A document with comments everywhere, as lines with their indents.
fn document() -> impl Strategy<Value = String> {
    let comment = "( ?#[a-z ':]{0,6})?";
    let plain = "[a-z]{1,4}|[0-9]{1,3}|true|'[a-z #:]{0,5}'|\"[a-z #é]{0,4}\"|\\[1, 'a # b'\\]|\\{x: 1, y: \\[\\]\\}|";
    let value = prop_oneof![
        6 => (plain, comment).prop_map(|(value, comment)| format!(" {value} {comment}\n")),
        1 => "[a-z#]{1,3}".prop_map(|line| format!(" |\n    {line}\n    # no comment\n\n")),
        1 => "[a-z]{1,3}".prop_map(|line| format!(" >- # head\n   {line}\n")),
        1 => (comment, "[a-z]{1,3}").prop_map(|(comment, item)| format!(" {comment}\n  - {item} # i\n  # item\n  -\n  - k: 1\n    # deep\n    l: 2\n")),
        2 => (comment, "[a-z]{1,3}", comment).prop_map(|(first, value, second)| {
            format!(" {first}\n  # above\n  p: {value} {second}\n\n  q:\n    r: '{value}' # r\n  # last\n")
        }),
        1 => "[a-z]{1,3}".prop_map(|word| format!(" [1, # one\n  {word}, # two\n  {{k: v}}]\n")),
    ];
    let entry = (value, "(\n|# line [a-z]{0,4}\n|  # indented\n){0,2}");
    (prop::collection::vec(entry, 0..6), "(---\n)?(# top\n)?", any::<bool>(), any::<bool>()).prop_map(
        |(entries, mut text, crlf, cut)| {
            for (index, (value, between)) in entries.into_iter().enumerate() {
                text += &format!("k{index}:{value}{between}");
            }
            let text = if cut { text.trim_end_matches('\n').to_owned() } else { text };
            if crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        "\\PC{0,6}|[a-z]{1,4}".prop_map(Json::from),
        Just(Json::Null),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::hash_map("[a-z]{1,3}|p|q", inner, 0..3)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Comments that have a line of their own. Those inside a block scalar say that they are none.
fn comment_lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.starts_with("# ") && *line != "# no comment").collect()
}

proptest! {
    #[test]
    fn every_other_value_and_every_comment_line_survives(
        text in document(), key in "k[0-6]|new", inner in prop::option::of("p|q|new"), value in json_value(), away in any::<bool>(),
    ) {
        let before: Value = read(&text).map_err(|error| TestCaseError::reject(error.to_string()))?;
        let path: Vec<&str> = [Some(key.as_str()), inner.as_deref()].into_iter().flatten().collect();
        let edited = if away { remove(&text, &path) } else { set(&text, &path, &value) };
        let edited = match edited {
            Err(EditError::NotAMap(_)) => return Ok(()),
            edited => edited.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?,
        };
        let after = read(&edited).unwrap();
        for (other, value) in before.as_mapping().unwrap().iter().filter(|(other, _)| other.as_str() != Some(&key)) {
            prop_assert_eq!(after.get(other), Some(value), "{}", edited);
        }
        let lines = comment_lines(&edited);
        for line in comment_lines(&text) {
            prop_assert!(lines.contains(&line), "{} is gone from\n{}", line, edited);
        }
        if !away && inner.is_none() {
            prop_assert_eq!(&after[key.as_str()], &serde_yaml::to_value(&value).unwrap());
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}|([ \t]{0,3}[a-z?]{1,2}: ?[&*!|>{\\['\"#a-z,: \\]}-]{0,10}\r?\n){0,5}", value in json_value()) {
        let _ = set(&text, &["a"], &value);
        let _ = remove(&text, &["a"]);
        let _ = set(&text, &["a", "b"], &value);
    }
}
