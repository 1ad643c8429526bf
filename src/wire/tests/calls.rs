//! CALL and RESULT, and what an assignment says to a plugin.

use crate::wire::call::{self, CallFrame, Unsendable};
use crate::wire::message::{Assign, Seat};
use crate::wire::{MAX_CALL, MAX_DEPTH, MAX_VALUES, WireError};
use rmpv::Value;
use std::collections::BTreeMap;

fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn call(id: Value, service: Value, method: Value, args: Value) -> Vec<u8> {
    packed(&Value::Array(vec![id, service, method, args]))
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::Array(Vec::new()), |inner, _| Value::Array(vec![inner]))
}

#[test]
fn a_call_is_read_with_arguments_of_every_kind() {
    let map = Value::Map(vec![("key".into(), Value::Nil), ("é".into(), 1.5.into())]);
    let args = vec![Value::from(-1), u64::MAX.into(), Value::Binary(vec![0xff]), true.into(), map];
    let payload = call(7.into(), "core:log".into(), "info".into(), Value::Array(args.clone()));
    let expected = CallFrame { id: 7, service: "core:log".into(), method: "info".into(), args };
    assert_eq!(call::read_call(&payload), Ok(expected));
}

#[test]
fn what_is_no_call_is_refused() {
    let none = || Value::Array(Vec::new());
    let long = "x".repeat(257);
    for payload in [
        packed(&none()),
        packed(&Value::Array(vec![1.into(), "s".into(), "m".into()])),
        call((-1).into(), "s".into(), "m".into(), none()),
        call((1_u64 << 32).into(), "s".into(), "m".into(), none()),
        call(1.into(), Value::Nil, "m".into(), none()),
        call(1.into(), long.as_str().into(), "m".into(), none()),
        call(1.into(), "s".into(), long.as_str().into(), none()),
        call(1.into(), "s".into(), "m".into(), Value::Map(Vec::new())),
        call(1.into(), "s".into(), "m".into(), Value::Nil),
        call(1.into(), "s".into(), "m".into(), Value::Array(vec![Value::Ext(1, vec![0])])),
        call(1.into(), "s".into(), "m".into(), Value::Array(vec![Value::Map(vec![(1.into(), 1.into())])])),
        [call(1.into(), "s".into(), "m".into(), none()), vec![0xc0]].concat(),
        vec![0x94, 1, 0xa1, 0xff, 0xa1, b'm', 0x90],
        vec![0x94, 1, 0xa1, b's', 0xa1, b'm', 0x91, 0xa1, 0xff],
        vec![0x94, 1, 0xa1, b's', 0xa1, b'm', 0x91, 0xc1],
        vec![0x94, 1, 0xa1, b's', 0xa1, b'm', 0xdd, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(call::read_call(&payload).is_err(), "{payload:x?}");
    }
    let whole = call(1.into(), "s".into(), "m".into(), Value::Array(vec!["text".into(), 70_000.into()]));
    for len in 0..whole.len() {
        assert!(call::read_call(&whole[..len]).is_err(), "{len}");
    }
}

#[test]
fn arguments_are_nested_so_deep_and_no_deeper() {
    let of = |depth| call::read_call(&call(1.into(), "s".into(), "m".into(), nested(depth)));
    assert!(of(MAX_DEPTH).is_ok());
    assert_eq!(of(MAX_DEPTH + 1), Err(WireError::OutOfRange("the nesting of values")));
    assert!(of(1000).is_err());
}

#[test]
fn arguments_have_so_many_parts_and_no_more() {
    let of = |count| {
        call::read_call(&call(1.into(), "s".into(), "m".into(), Value::Array(vec![Value::Nil; count])))
    };
    assert!(of(MAX_VALUES - 1).is_ok());
    assert_eq!(of(MAX_VALUES), Err(WireError::OutOfRange("the number of values")));
}

#[test]
fn a_result_has_a_value_or_an_error() {
    let value = Value::Array(vec!["yes".into(), Value::Binary(vec![1, 2])]);
    let read = |bytes: &[u8]| rmpv::decode::read_value(&mut &*bytes).unwrap();
    let sent = read(&call::result(300, &value).unwrap());
    assert_eq!(sent, Value::Array(vec![300.into(), Value::Nil, value]));
    let error = Value::Array(vec!["TypeError".into(), "no".into()]);
    assert_eq!(read(&call::error(1, "TypeError", "no")), Value::Array(vec![1.into(), error, Value::Nil]));
    let long = "é".repeat(MAX_CALL);
    assert!(call::error(1, &long, &long).len() < MAX_CALL / 8);
}

#[test]
fn a_value_that_the_worker_would_not_take_is_not_sent() {
    for (value, why) in [
        (Value::Binary(vec![0; MAX_CALL]), Unsendable::TooLarge),
        (nested(MAX_DEPTH + 1), Unsendable::NotPlain),
        (nested(100_000), Unsendable::NotPlain),
        (Value::Array(vec![Value::Nil; MAX_VALUES]), Unsendable::NotPlain),
        (Value::Ext(1, Vec::new()), Unsendable::NotPlain),
        (Value::Map(vec![(1.into(), 1.into())]), Unsendable::NotPlain),
    ] {
        assert_eq!(call::result(1, &value), Err(why));
        // Rust drops a value as it is nested.
        flatten(value);
    }
    assert!(call::result(1, &nested(MAX_DEPTH)).is_ok());
}

fn flatten(value: Value) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        if let Value::Array(values) = value {
            left.extend(values);
        }
    }
}

#[test]
fn a_plugins_seat_is_a_value_of_its_own_in_the_assignment() {
    let (env, config) = (BTreeMap::new(), serde_json::json!({ "limit": 3, "names": ["a", null] }));
    let seat = Seat {
        name: "guard",
        version: "1.0.0",
        base: None,
        config: &config,
        state_dir: "/d",
        server: Some("http://h"),
        api_base: Some("/api"),
    };
    let none = "";
    let mut assign = Assign {
        dir: none,
        entry: none,
        name: none,
        version: none,
        worker_id: none,
        mount: none,
        origin: none,
        dev: false,
        env: &env,
        plugin: Some(seat),
    };
    let read = |assign: &Assign<'_>| {
        rmpv::decode::read_value(&mut &*rmp_serde::to_vec_named(assign).unwrap()).unwrap()
    };
    let Value::Map(fields) = read(&assign) else { panic!("no map") };
    let Some((_, Value::Binary(bytes))) = fields.iter().find(|(key, _)| key.as_str() == Some("plugin"))
    else {
        panic!("{fields:?}")
    };
    let seat = rmpv::decode::read_value(&mut &**bytes).unwrap();
    assert_eq!(seat["name"].as_str(), Some("guard"));
    assert_eq!(seat["stateDir"].as_str(), Some("/d"));
    assert_eq!((seat["base"].is_nil(), seat["server"].as_str()), (true, Some("http://h")));
    assert_eq!(seat["config"]["names"], Value::Array(vec!["a".into(), Value::Nil]));
    assign.plugin = None;
    let Value::Map(without) = read(&assign) else { panic!("no map") };
    assert_eq!(without.len(), fields.len() - 1);
}
