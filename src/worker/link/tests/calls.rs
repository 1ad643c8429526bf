//! Calls of a script plugin's worker.

use super::*;
use crate::wire::message::Seat;
use crate::wire::{MAX_CALLS, MAX_CALLS_BYTES};
use rmpv::Value;

fn payload(id: u32, args: Vec<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let value = Value::Array(vec![id.into(), "core:log".into(), "info".into(), Value::Array(args)]);
    rmpv::encode::write_value(&mut bytes, &value).unwrap();
    bytes
}

impl Rig {
    /// With a worker that loads a plugin.
    async fn plugin() -> Rig {
        let mut rig = Rig::spare();
        rig.worker.send(Kind::Hello, 0, &[0x93, 0xa1, b'b', 0xa1, b'v', 0xc3]).await;
        rig.told().await;
        let (env, config) = (BTreeMap::new(), serde_json::json!({}));
        let none = "";
        let seat = Seat {
            name: none,
            version: none,
            base: None,
            config: &config,
            state_dir: none,
            server: None,
            api_base: None,
        };
        let assign = Assign {
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
        rig.link.assign(&assign).unwrap();
        assert_eq!(rig.worker.frame().await.0, Kind::Assign as u8);
        rig
    }

    async fn called(&mut self) -> CallFrame {
        match self.told().await {
            Control::Call(call) => call,
            other => panic!("{other:?}"),
        }
    }

    async fn result(&mut self) -> Value {
        let (kind, stream, payload) = self.worker.frame().await;
        assert_eq!((kind, stream), (Kind::Result as u8, 0));
        rmpv::decode::read_value(&mut &*payload).unwrap()
    }
}

#[tokio::test]
async fn a_plugin_calls_before_it_is_ready_and_is_answered_in_any_order() {
    let mut rig = Rig::plugin().await;
    for id in [7, 8] {
        rig.worker.send(Kind::Call, 0, &payload(id, vec![id.into()])).await;
        let call = rig.called().await;
        assert_eq!(
            (call.id, &*call.service, &*call.method, call.args),
            (id, "core:log", "info", vec![id.into()])
        );
    }
    rig.link.answer(8, Err(CallError::new("TypeError", "no")));
    rig.link.answer(7, Ok("yes".into()));
    let error = Value::Array(vec!["TypeError".into(), "no".into()]);
    assert_eq!(rig.result().await, Value::Array(vec![8.into(), error, Value::Nil]));
    assert_eq!(rig.result().await, Value::Array(vec![7.into(), Value::Nil, "yes".into()]));
    rig.worker.send(Kind::Ready, 0, &[0x92, 0, 0xc0]).await;
    assert!(matches!(rig.told().await, Control::Ready(_)));
}

#[tokio::test]
async fn a_call_from_an_app_or_a_spare_ends_its_link() {
    let mut app = Rig::assigned().await;
    app.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    assert!(matches!(app.end().await, LinkEnd::Protocol(WireError::Unexpected(_))));
    let mut spare = Rig::spare();
    spare.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    assert!(matches!(spare.end().await, LinkEnd::Protocol(WireError::Unexpected(_))));
}

#[tokio::test]
async fn a_call_with_an_id_that_is_open_ends_the_link_and_one_that_was_answered_does_not() {
    let mut rig = Rig::plugin().await;
    rig.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    rig.called().await;
    rig.link.answer(1, Ok(Value::Nil));
    rig.result().await;
    rig.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    rig.called().await;
    rig.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    assert!(matches!(rig.end().await, LinkEnd::Protocol(WireError::Unexpected(_))));
    // There is nobody to hear it.
    rig.link.answer(1, Ok(Value::Nil));
}

#[tokio::test]
async fn more_calls_than_may_be_open_end_the_link() {
    let mut rig = Rig::plugin().await;
    for id in 0..MAX_CALLS as u32 {
        rig.worker.send(Kind::Call, 0, &payload(id, Vec::new())).await;
        rig.called().await;
    }
    // One that was answered makes room for another when its answer has gone out.
    rig.link.answer(3, Ok(Value::Nil));
    rig.result().await;
    rig.worker.send(Kind::Call, 0, &payload(3, Vec::new())).await;
    rig.called().await;
    rig.worker.send(Kind::Call, 0, &payload(5000, Vec::new())).await;
    assert!(matches!(rig.end().await, LinkEnd::Protocol(WireError::OutOfRange(_))));
}

#[tokio::test]
async fn calls_with_more_bytes_than_may_be_open_end_the_link() {
    let mut rig = Rig::plugin().await;
    let large = vec![Value::Binary(vec![0; 1_000_000])];
    for id in 0..(MAX_CALLS_BYTES / 1_000_000) as u32 {
        rig.worker.send(Kind::Call, 0, &payload(id, large.clone())).await;
        rig.called().await;
    }
    rig.worker.send(Kind::Call, 0, &payload(5000, large)).await;
    assert!(matches!(rig.end().await, LinkEnd::Protocol(WireError::OutOfRange(_))));
}

#[tokio::test]
async fn who_calls_and_never_reads_does_not_grow_the_outbox_without_end() {
    let mut rig = Rig::plugin().await;
    let mut end = None;
    for id in 0..3 * MAX_CALLS as u32 {
        let mut out = BytesMut::new();
        frame::put_frame(&mut out, Kind::Call, 0, &payload(id, Vec::new()));
        // It fails when the link has ended, which is heard of below.
        let _ = rig.worker.0.write_all(&out).await;
        end = tokio::select! {
            call = rig.control.recv() => match call {
                Some(Control::Call(call)) => {
                    rig.link.answer(call.id, Ok(Value::Binary(vec![0; 100_000])));
                    None
                }
                other => panic!("{other:?}"),
            },
            end = &mut rig.driver => Some(end.unwrap()),
        };
        if end.is_some() {
            break;
        }
    }
    assert!(matches!(end, Some(LinkEnd::Protocol(WireError::OutOfRange(_)))), "{end:?}");
}

#[tokio::test]
async fn a_value_that_cannot_be_sent_is_an_error_to_who_called() {
    let mut rig = Rig::plugin().await;
    rig.worker.send(Kind::Call, 0, &payload(1, Vec::new())).await;
    rig.called().await;
    rig.link.answer(1, Ok(Value::Ext(1, Vec::new())));
    assert_eq!(rig.result().await[1][0].as_str(), Some("RangeError"));
}
