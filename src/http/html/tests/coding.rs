//! Documents that the app compressed: decoded in bounded steps, or refused.

use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;
use std::sync::LazyLock;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn named_gzip(bytes: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().filename("page.html").comment("a comment").extra(vec![7; 300]);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn long_document() -> Vec<u8> {
    let start = "<!doctype html><html><head><title>café</title></head><body>";
    format!("{start}{}</body></html>", "<p>hello</p>".repeat(20_000)).into_bytes()
}

/// [`long_document`], compressed elsewhere: there is no encoder among the dependencies.
const BROTLI: &[u8] = b"\x5b\xc9\xa9\x03\xcc\xe2\xc0\x8e\x5d\x0d\x7e\xdc\x32\x5e\xc2\xbd\xa4\x26\xcf\x18\x5a\xf2\
    \x98\xb1\xa5\x4f\x58\x59\xfb\xb0\xbd\x0d\x73\x83\x0b\x98\xe3\x42\xaf\x8c\x36\xb2\x3d\xe0\x52\x24\x81\x38\x69\
    \x91\x80\x51\x63\x3a\xd5\x0f\x08\xb2\x19\x0f\x4c\xe8\x00\xbf\x89\xea\x73\xad\x02";

static CODED: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(coded);

fn coded() -> Vec<(&'static str, Vec<u8>)> {
    let document = long_document();
    let (front, back) = document.split_at(100_000);
    vec![
        ("gzip", gzip(&document)),
        ("x-gzip", gzip(&document)),
        ("GZIP", named_gzip(&document)),
        ("gzip", [gzip(front), gzip(b""), gzip(back)].concat()),
        ("gzip", [gzip(&document), vec![0; 20]].concat()),
        ("deflate", zlib(&document)),
        ("deflate", deflate(&document)),
        ("br", BROTLI.to_vec()),
        ("zstd", zstd::encode_all(document.as_slice(), 3).unwrap()),
        ("zstd", [zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 1).unwrap()].concat()),
    ]
}

#[test]
fn coded_documents_are_decoded_in_bounded_pieces_and_sent_plain() {
    let document = String::from_utf8(long_document()).unwrap();
    let html = document.replacen("<head>", &format!("<head>{BASE}"), 1);
    for (nth, &(coding, ref bytes)) in CODED.iter().enumerate() {
        let bytes = Bytes::from_static(bytes);
        for size in [1, 7, 64, bytes.len()] {
            let chunks =
                (0..bytes.len()).step_by(size).map(|at| bytes.slice(at..(at + size).min(bytes.len())));
            let headers = [("content-encoding", coding), ("vary", "accept-encoding")];
            let response = exchange(&[]).apply(response(&headers, stream(chunks.collect())));
            assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            let mut body = response.into_body();
            let mut got = Vec::new();
            while let Some(frame) = futures_util::FutureExt::now_or_never(body.frame()).expect("ready") {
                let frame = frame.unwrap().into_data().unwrap();
                assert!(frame.len() <= 32 << 10, "{nth} {coding}: {}", frame.len());
                got.extend_from_slice(&frame);
            }
            assert!(got == html.as_bytes(), "{nth} {coding} in pieces of {size}: {} bytes", got.len());
        }
        let response = exchange(&[]).apply(response(&[("content-encoding", coding)], Body::from(bytes)));
        assert!(collect(response.into_body()).unwrap() == html.as_bytes(), "{nth} {coding} at once");
    }
}

#[test]
fn broken_coded_documents_end_with_an_error() {
    for (coding, bytes) in CODED.iter() {
        let mut cut = bytes.clone();
        // Behind the document there may be zeros, which are no part of it.
        cut.truncate(bytes.iter().rposition(|b| *b != 0).unwrap() - 1);
        let mut other = bytes.clone();
        other[0] ^= 0x55;
        for bytes in [cut, other] {
            let response = exchange(&[])
                .apply(response(&[("content-encoding", coding)], Body::from(Bytes::from(bytes))));
            assert!(collect(response.into_body()).is_err(), "{coding}");
        }
    }
    let mut wrong = gzip(b"<p>");
    let length = wrong.len();
    wrong[length - 6] ^= 1;
    let response =
        exchange(&[]).apply(response(&[("content-encoding", "gzip")], Body::from(Bytes::from(wrong))));
    assert!(collect(response.into_body()).is_err(), "a wrong checksum");
}

#[test]
fn an_empty_coded_document_is_empty() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let response = exchange(&[]).apply(response(&[("content-encoding", coding)], stream(vec![])));
        assert_eq!(collect(response.into_body()).unwrap(), b"", "{coding}");
    }
}

/// The end of a stream may be found only when the last piece is out: nothing is taken or given then.
#[test]
fn documents_that_fill_their_pieces_exactly_end_well() {
    for length in (1..=3).flat_map(|pieces| [-1, 0, 1].map(|off| pieces * (32 << 10) + off)) {
        let document = vec![b'x'; length as usize];
        for (coding, bytes) in [
            ("gzip", gzip(&document)),
            ("gzip", [gzip(&document), gzip(&document)].concat()),
            ("deflate", zlib(&document)),
            ("deflate", [deflate(&document), vec![0; 9]].concat()),
            ("zstd", zstd::encode_all(document.as_slice(), 3).unwrap()),
        ] {
            for body in [
                stream(vec![Bytes::from(bytes.clone())]),
                stream(bytes.chunks(1).map(Bytes::copy_from_slice).collect()),
            ] {
                let response = exchange(&[]).apply(response(&[("content-encoding", coding)], body));
                let got = collect(response.into_body()).unwrap_or_else(|e| panic!("{coding} {length}: {e}"));
                assert_eq!((got.len() - BASE.len()) % document.len(), 0, "{coding} {length}");
                assert!(got.len() > BASE.len());
            }
        }
    }
}

#[test]
fn a_decoder_that_waits_may_be_asked_again_and_again() {
    for (coding, (_, bytes)) in [(decode::Coding::Gzip, &CODED[0]), (decode::Coding::Zstd, &CODED[8])] {
        let mut decoder = Decoder::new(coding).unwrap();
        decoder.feed(Bytes::from_static(&bytes[..bytes.len() / 2]));
        while decoder.next().unwrap().is_some() {}
        assert!((0..100).all(|_| decoder.next().unwrap().is_none()), "{coding:?}");
        decoder.feed(Bytes::from_static(&bytes[bytes.len() / 2..]));
        while decoder.next().unwrap().is_some() {}
        decoder.finish().unwrap();
    }
}

proptest! {
    #[test]
    fn decoders_stand_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..10) {
        let (coding, mut coded) = CODED[at].clone();
        let place = bytes.len() % coded.len();
        coded.splice(place.., bytes);
        let response = exchange(&[]).apply(response(&[("content-encoding", coding)], Body::from(Bytes::from(coded))));
        let _: Result<Vec<u8>, _> = collect(response.into_body());
    }
}
