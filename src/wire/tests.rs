//! Every limit of `PROTOCOL.md`, and bytes that keep to none. Corpora of the fuzz targets are in `__fuzz__`.

mod calls;

use super::frame::{Decoder, Frame, HEADER, Kind, put_frame, put_header};
use super::message::{self, AppError, Cancel, Hello, HookDone, Ready};
use super::pack::{self, Reader};
use super::{MAX_CALL, MAX_CHUNK, MAX_CONTROL, MAX_EXCHANGE, MAX_HEAD, MAX_HEADERS, WireError, call};
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use std::time::Duration;

/// What a worker may send: the type, its largest payload, and whether it belongs to the link.
const FROM_WORKER: [(Kind, usize, bool); 12] = [
    (Kind::Hello, MAX_CONTROL, true),
    (Kind::Ready, MAX_CONTROL, true),
    (Kind::Failed, MAX_CONTROL, true),
    (Kind::Response, MAX_EXCHANGE, false),
    (Kind::Body, MAX_CHUNK, false),
    (Kind::End, MAX_CHUNK, false),
    (Kind::Credit, 4, false),
    (Kind::Cancel, 64, false),
    (Kind::Error, MAX_CONTROL, false),
    (Kind::Pong, 8, true),
    (Kind::HookDone, 64 * 1024, true),
    (Kind::Call, MAX_CALL, true),
];

/// How much time a fuzz target may take in an ordinary test run.
const FUZZ_TIME: Duration = Duration::from_millis(700);

fn header(kind: u8, stream: u32, len: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(len as u32);
    bytes.put_u8(kind);
    bytes.put_u32(stream);
    bytes
}

/// All frames in `bytes`, which come in the given pieces; with the error that ended it.
fn decode(pieces: &[&[u8]]) -> (Vec<Frame>, Option<WireError>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match Decoder.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(buffer.is_empty() || Decoder.missing(&buffer) <= HEADER + MAX_CONTROL);
    }
    (frames, None)
}

fn head(status: u32, reason: Option<&[u8]>, headers: &[(&[u8], &[u8])], body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    pack::put_array(&mut out, 4);
    pack::put_uint(&mut out, 1);
    pack::put_uint(&mut out, status);
    match reason {
        Some(reason) => pack::put_str(&mut out, reason),
        None => out.put_u8(0xc0),
    }
    pack::put_array(&mut out, headers.len() * 2);
    for (name, value) in headers {
        pack::put_str(&mut out, name);
        pack::put_bin(&mut out, value);
    }
    out.extend_from_slice(body);
    out.freeze()
}

#[test]
fn each_type_has_its_limit_which_counts_before_any_payload_came() {
    for (kind, limit, of_link) in FROM_WORKER {
        let stream = u32::from(!of_link);
        let mut whole = header(kind as u8, stream, limit);
        assert_eq!(Decoder.next(&mut whole), Ok(None), "{kind:?}");
        assert_eq!(Decoder.missing(&whole), limit, "{kind:?}");
        whole.resize(HEADER + limit, 0);
        let frame = Decoder.next(&mut whole).unwrap().unwrap();
        assert_eq!((frame.kind, frame.stream, frame.payload.len()), (kind, stream, limit));
        assert!(whole.is_empty());
        for len in [limit + 1, u32::MAX as usize] {
            let error = WireError::TooLarge { kind: kind as u8, len, limit };
            assert_eq!(Decoder.next(&mut header(kind as u8, stream, len)), Err(error), "{kind:?}");
        }
    }
}

#[test]
fn types_that_are_unknown_or_the_supervisors_own_are_refused() {
    for byte in 0..=u8::MAX {
        if FROM_WORKER.iter().all(|(kind, ..)| *kind as u8 != byte) {
            for stream in [0, 1] {
                let error = Err(WireError::UnknownType(byte));
                assert_eq!(Decoder.next(&mut header(byte, stream, 0)), error);
            }
        }
    }
}

#[test]
fn frames_of_the_link_have_no_stream_and_the_others_have_one() {
    for (kind, limit, of_link) in FROM_WORKER {
        let wrong = u32::from(of_link);
        let result = Decoder.next(&mut header(kind as u8, wrong, limit));
        assert_eq!(result, Err(WireError::Unexpected("a frame on the wrong kind of stream")), "{kind:?}");
    }
}

#[test]
fn frames_of_one_length_have_no_other() {
    for (kind, lens) in [(Kind::Credit, &[0, 1, 3][..]), (Kind::Pong, &[0, 7]), (Kind::Body, &[0])] {
        for len in lens {
            let stream = u32::from(kind != Kind::Pong);
            let result = Decoder.next(&mut header(kind as u8, stream, *len));
            assert_eq!(result, Err(WireError::WrongLength(kind as u8)), "{kind:?} {len}");
        }
    }
}

#[test]
fn a_header_in_pieces_is_waited_for() {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, Kind::End, 7, b"abc");
    for len in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..len]);
        assert_eq!(Decoder.next(&mut part), Ok(None));
        assert_eq!(part.len(), len);
    }
}

#[test]
fn a_response_head_keeps_repeated_headers_bytes_and_words() {
    let headers: [(&[u8], &[u8]); 4] =
        [(b"set-cookie", b"a=1"), (b"x", b"caf\xe9"), (b"set-cookie", b"b=2"), (b"y", b"")];
    let read = message::read_response(&head(299, Some("Fin\u{e9}".as_bytes()), &headers, b"body")).unwrap();
    assert_eq!((read.status.as_u16(), read.fin), (299, true));
    assert_eq!(read.reason.as_deref(), Some("Fin\u{e9}".as_bytes()));
    assert_eq!(read.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(read.headers["x"].as_bytes(), b"caf\xe9");
    assert_eq!(read.headers["y"], "");
    assert_eq!(read.body, "body");
}

#[test]
fn statuses_from_200_to_599_are_taken_and_no_others() {
    for status in [200, 204, 299, 418, 599] {
        assert_eq!(
            u32::from(message::read_response(&head(status, None, &[], b"")).unwrap().status.as_u16()),
            status
        );
    }
    for status in [0, 99, 100, 101, 199, 600, 999, 65_736, u32::MAX] {
        let error = message::read_response(&head(status, None, &[], b"")).unwrap_err();
        assert_eq!(error, WireError::OutOfRange("status"));
    }
}

#[test]
fn headers_that_http_does_not_allow_are_out_of_range() {
    for name in [&b""[..], b"a b", b"a\r\nb", b"a:b", b"\0", b"caf\xe9"] {
        let error = message::read_response(&head(200, None, &[(name, b"v")], b"")).unwrap_err();
        assert_eq!(error, WireError::OutOfRange("header name"), "{name:?}");
    }
    for value in [&b"a\r\nb: c"[..], b"\n", b"\r", b"\0", b"\x7f"] {
        let error = message::read_response(&head(200, None, &[(b"x", value)], b"")).unwrap_err();
        assert_eq!(error, WireError::OutOfRange("header value"), "{value:?}");
    }
}

#[test]
fn a_head_has_at_most_512_pairs_and_256_kib() {
    let most: Vec<(&[u8], &[u8])> = vec![(b"x", b"y"); MAX_HEADERS];
    assert_eq!(message::read_response(&head(200, None, &most, b"")).unwrap().headers.len(), MAX_HEADERS);
    let more: Vec<(&[u8], &[u8])> = vec![(b"x", b"y"); MAX_HEADERS + 1];
    assert!(matches!(message::read_response(&head(200, None, &more, b"")), Err(WireError::Unexpected(_))));

    let fits = vec![b'v'; MAX_HEAD - 100];
    assert!(message::read_response(&head(200, None, &[(b"x", &fits)], &[0; 1000])).is_ok());
    let large = vec![b'v'; MAX_HEAD];
    assert_eq!(
        message::read_response(&head(200, None, &[(b"x", &large)], b"")).unwrap_err(),
        WireError::Truncated
    );
}

#[test]
fn a_head_that_is_cut_off_anywhere_is_truncated() {
    let whole = head(200, Some(b"Fine"), &[(b"a", b"b"), (b"cc", &[b'd'; 300])], b"");
    for len in 0..whole.len() {
        assert_eq!(message::read_response(&whole.slice(..len)).unwrap_err(), WireError::Truncated, "{len}");
    }
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for payload in [
        &[0x93, 0, 0xcc, 200, 0xc0][..],      // three fields
        &[0x95, 0, 0xcc, 200, 0xc0, 0x90, 0], // five fields
        &[0x80],                              // a map
        &[0xc0],                              // nil
        &[0x94, 0xff, 0xcc, 200, 0xc0, 0x90], // negative flags
        &[0x94, 0, 0xd1, 0, 200, 0xc0, 0x90], // a signed status
        &[0x94, 0, 0xcf, 0, 0, 0, 0, 0, 0, 0, 200, 0xc0, 0x90],
        &[0x94, 0, 0xa3, b'2', b'0', b'0', 0xc0, 0x90],
        &[0x94, 0, 0xcc, 200, 0xc4, 0, 0x90], // bytes for words
        &[0x94, 0, 0xcc, 200, 0xc0, 0x80],    // a map of headers
        &[0x94, 0, 0xcc, 200, 0xc0, 0x92, 0xc4, 1, b'a', 0xc4, 1, b'b'], // bytes for a name
        &[0x94, 0, 0xcc, 200, 0xc0, 0x92, 0xa1, b'a', 0xa1, b'b'], // a str for a value
        &[0x94, 0, 0xcc, 200, 0xc0, 0x92, 0xa1, b'a', 0x91, 0xc4, 0], // nested
    ] {
        let result = message::read_response(&Bytes::copy_from_slice(payload));
        assert!(matches!(result, Err(WireError::WrongType(_))), "{payload:x?}: {result:?}");
    }
    let odd = [0x94, 0, 0xcc, 200, 0xc0, 0x91, 0xa1, b'a'];
    assert!(matches!(message::read_response(&Bytes::copy_from_slice(&odd)), Err(WireError::Unexpected(_))));
}

#[test]
fn only_the_reasons_of_the_table_cancel() {
    for (byte, reason) in [
        (1, Cancel::ClientGone),
        (2, Cancel::Timeout),
        (3, Cancel::BodyFailed),
        (4, Cancel::ShuttingDown),
        (5, Cancel::NotWanted),
    ] {
        assert_eq!(message::read_cancel(&[0x91, byte]), Ok(reason));
    }
    for payload in [&[][..], &[0x91], &[0x91, 0], &[0x91, 6], &[0x91, 0xc0], &[0x90], &[0x92, 1, 1], &[1]] {
        assert!(message::read_cancel(payload).is_err(), "{payload:x?}");
    }
}

#[test]
fn control_messages_are_read_and_other_values_refused() {
    let hello: Hello = message::read_control(&[0x93, 0xa1, b'b', 0xa1, b'v', 0xc3]).unwrap();
    assert_eq!((&*hello.build, &*hello.bun, hello.mapped), ("b", "v", true));
    let ready: Ready = message::read_control(&[0x92, 3, 0xc0]).unwrap();
    assert_eq!((ready.hooks, ready.max_request_body_size), (3, None));
    let ready: Ready = message::read_control(&[0x92, 0, 0xcf, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    assert_eq!(ready.max_request_body_size, Some((1 << 32) + 2));
    let done: HookDone = message::read_control(&[0x92, 2, 0xa1, b'e']).unwrap();
    assert_eq!((done.kind, done.error.as_deref()), (2, Some("e")));
    let error: AppError = message::read_control(&[0x94, 0xa1, b'n', 0xa1, b'm', 0xa0, 0xa0]).unwrap();
    assert_eq!((&*error.name, &*error.message), ("n", "m"));

    let wrong = Err(WireError::WrongType("a control message"));
    for payload in [
        &[][..],
        &[0xc1],
        &[0x91, 1],
        &[0x93, 1, 1, 1],
        &[0x93, 0xa1, b'b', 0xa1, b'v', 1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0x91; 2000],
    ] {
        assert_eq!(message::read_control::<Hello>(payload).map(drop), wrong, "{payload:x?}");
        assert_eq!(message::read_control::<AppError>(payload).map(drop), wrong, "{payload:x?}");
    }
}

#[test]
fn a_request_is_written_as_the_protocol_says() {
    let mut out = BytesMut::from(&b"before"[..]);
    let headers: [(&str, &[u8]); 2] = [("host", b"h"), ("x", b"caf\xe9")];
    message::put_request(
        &mut out,
        7,
        true,
        "POST",
        &[b"http://h", b"/a"],
        headers.into_iter(),
        ("::1", 4711),
        4,
    );
    out.extend_from_slice(b"body");
    let frame = &out["before".len()..];
    assert_eq!(frame[..HEADER], [0, 0, 0, (frame.len() - HEADER) as u8, 0x10, 0, 0, 0, 7]);
    let payload = &frame[HEADER..];
    let mut reader = Reader::new(payload);
    let text = |reader: &mut Reader<'_>| String::from_utf8(payload[reader.str().unwrap()].to_vec()).unwrap();
    assert_eq!((reader.array(), reader.uint()), (Ok(6), Ok(1)));
    assert_eq!((text(&mut reader), text(&mut reader)), ("POST".into(), "http://h/a".into()));
    assert_eq!(reader.array(), Ok(4));
    for (name, value) in headers {
        assert_eq!(text(&mut reader), name);
        assert_eq!(&payload[reader.bin().unwrap()], value);
    }
    assert_eq!((text(&mut reader), reader.uint()), ("::1".into(), Ok(4711)));
    assert_eq!(&payload[reader.position()..], b"body");
}

/// `rmp` as the oracle for the forms that are written by hand here.
#[test]
fn packed_values_are_those_of_the_standard_and_are_read_back() {
    for value in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, u32::MAX] {
        let (mut ours, mut theirs) = (BytesMut::new(), Vec::new());
        pack::put_uint(&mut ours, value);
        rmp::encode::write_uint(&mut theirs, u64::from(value)).unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(Reader::new(&ours).uint(), Ok(value as usize));
    }
    for len in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let value = vec![b'x'; len];
        let (mut ours, mut theirs) = (BytesMut::new(), Vec::new());
        pack::put_str(&mut ours, &value);
        pack::put_bin(&mut ours, &value);
        pack::put_array(&mut ours, len);
        rmp::encode::write_str(&mut theirs, std::str::from_utf8(&value).unwrap()).unwrap();
        rmp::encode::write_bin(&mut theirs, &value).unwrap();
        rmp::encode::write_array_len(&mut theirs, len as u32).unwrap();
        assert_eq!(ours, theirs, "{len}");
        let mut reader = Reader::new(&ours);
        assert_eq!(ours[reader.str().unwrap()], value);
        assert_eq!(ours[reader.bin().unwrap()], value);
        assert_eq!(reader.array(), Ok(len));
    }
}

fn frame() -> impl Strategy<Value = (Kind, u32, Vec<u8>)> {
    let which = prop::sample::select(FROM_WORKER.to_vec());
    (which, 1..9_u32, prop::collection::vec(any::<u8>(), 0..600)).prop_map(
        |((kind, limit, of_link), stream, mut payload)| {
            match kind {
                Kind::Credit | Kind::Pong => payload.resize(limit, 0),
                Kind::Body if payload.is_empty() => payload.push(0),
                _ => payload.truncate(limit),
            }
            (kind, if of_link { 0 } else { stream }, payload)
        },
    )
}

proptest! {
    #[test]
    fn frames_come_out_equal_however_their_bytes_are_cut(
        frames in prop::collection::vec(frame(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = BytesMut::new();
        for (kind, stream, payload) in &frames {
            put_header(&mut bytes, *kind, *stream, payload.len());
            bytes.extend_from_slice(payload);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (decoded, error) = decode(&pieces);
        prop_assert_eq!(error, None);
        let decoded: Vec<_> = decoded.into_iter().map(|f| (f.kind, f.stream, f.payload.to_vec())).collect();
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn a_head_with_one_byte_changed_is_a_head_or_an_error(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = head(302, Some(b"Found"), &[(b"location", b"/x"), (b"set-cookie", &[b'c'; 40])], b"rest").to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&Bytes::from(bytes.clone()));
        bytes.truncate(cut.index(bytes.len()));
        read_all(&Bytes::from(bytes));
    }
}

/// Reads a payload as everything it could be. Whatever it is, that ends in a value or an error.
fn read_all(payload: &Bytes) {
    if let Ok(head) = message::read_response(payload) {
        assert!((200..=599).contains(&head.status.as_u16()));
        assert!(head.headers.len() <= MAX_HEADERS && head.body.len() <= payload.len());
    }
    let _ = message::read_cancel(payload);
    let _ = message::read_control::<Hello>(payload);
    let _ = message::read_control::<Ready>(payload);
    let _ = message::read_control::<AppError>(payload);
    let _ = message::read_control::<HookDone>(payload);
    if let Ok(frame) = call::read_call(payload) {
        // What came can be sent back.
        let value = rmpv::Value::Array(frame.args);
        assert!(call::result(frame.id, &value).is_ok() || payload.len() + 16 > MAX_CALL);
    }
}

#[test]
fn any_bytes_are_frames_or_an_error_and_the_same_ones_byte_by_byte() {
    bolero::check!().with_test_time(FUZZ_TIME).for_each(|bytes: &[u8]| {
        let whole = decode(&[bytes]);
        let singles: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(decode(&singles), whole);
        for frame in whole.0 {
            let limit = FROM_WORKER.iter().find(|(kind, ..)| *kind == frame.kind).unwrap().1;
            assert!(frame.payload.len() <= limit);
            read_all(&frame.payload);
        }
    });
}

#[test]
fn any_payload_is_a_message_or_an_error() {
    bolero::check!()
        .with_test_time(FUZZ_TIME)
        .for_each(|bytes: &[u8]| read_all(&Bytes::copy_from_slice(bytes)));
}

/// Frames whose headers are right, so that a fuzzer spends its time inside of them.
#[test]
fn any_payloads_in_sound_frames_are_messages_or_errors() {
    bolero::check!().with_test_time(FUZZ_TIME).with_type::<Vec<(u8, u8, Vec<u8>)>>().for_each(|parts| {
        let mut bytes = BytesMut::new();
        for (kind, stream, payload) in parts {
            let (kind, limit, of_link) = FROM_WORKER[usize::from(*kind) % FROM_WORKER.len()];
            let payload = &payload[..payload.len().min(limit)];
            put_frame(&mut bytes, kind, if of_link { 0 } else { u32::from(*stream) }, payload);
        }
        let (frames, error) = decode(&[&bytes]);
        assert!(error.is_some() || frames.len() == parts.len());
        frames.iter().for_each(|frame| read_all(&frame.payload));
    });
}
