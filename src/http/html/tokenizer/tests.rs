//! What counts as a tag, a comment, raw text.

use super::*;

/// The tags of a document as `<name>` and `</name>`, `T` for a run of text, `D` for a doctype.
fn tokens(html: &str) -> String {
    let mut tokenizer = Tokenizer::new();
    let mut out: Vec<String> = Vec::new();
    for byte in html.bytes() {
        let Some(found) = tokenizer.take(byte) else { continue };
        let word = |name: Word| String::from_utf8_lossy(name.as_bytes()).into_owned();
        let text = match found.token {
            Token::Text => "T".to_owned(),
            Token::Doctype => "D".to_owned(),
            Token::Start { name, has_href, .. } => {
                assert_eq!(html.as_bytes()[found.start], b'<');
                assert_eq!(html.as_bytes()[found.end - 1], b'>');
                format!("<{}{}>", word(name), if has_href { " href" } else { "" })
            }
            Token::End { name } => format!("</{}>", word(name)),
        };
        if text != "T" || out.last().is_none_or(|last| last != "T") {
            out.push(text);
        }
    }
    out.concat()
}

#[test]
fn tags_are_found_whatever_stands_in_them() {
    for (html, expected) in [
        ("<head>", "<head>"),
        ("<HEAD\n>", "<head>"),
        ("<head/>", "<head>"),
        ("<head class='a>b' data-x=\"<p>\">x", "<head>T"),
        ("<head a=b>x", "<head>T"),
        ("<head a=b/>x", "<head>T"),
        ("<head a = 'b>'>x", "<head>T"),
        ("<head a=>x", "<head>T"),
        ("<head a='1'b=\">\">x", "<head>T"),
        ("<header>", "<header>"),
        ("<base href=/x>", "<base href>"),
        ("<base HREF>", "<base href>"),
        ("<base target=_top href='/'>", "<base href>"),
        ("<base href/>", "<base href>"),
        ("<base data-href=x>", "<base>"),
        ("<base target='href'>", "<base>"),
        ("<base target=href>", "<base>"),
        ("<base =href>", "<base>"),
        ("</head >", "</head>"),
        ("a<b", "T"),
        ("<averyverylongname>", "<\0veryveryl>"),
    ] {
        assert_eq!(tokens(html), expected, "{html}");
    }
}

#[test]
fn comments_and_declarations_are_passed_over() {
    for html in [
        "<!---->",
        "<!-->",
        "<!--->",
        "<!-- <head> -->",
        "<!-- -- > -- -->",
        "<!-- --!>",
        "<!--a--!-->",
        "<!-- <!-- -->",
        "<!--->",
        "<!----->",
        "<!-a>",
        "<!->",
        "<!>",
        "<![CDATA[x]]>",
        "<?xml version='1.0'?>",
        "</>",
        "</ head>",
    ] {
        assert_eq!(tokens(&format!("{html}<p>")), "<p>", "{html}");
    }
    assert_eq!(tokens("<!doctype html \"a\"><p>"), "D<p>");
    assert_eq!(tokens("<!-- <p>"), "");
    assert_eq!(tokens("<!--a-->x"), "T");
}

#[test]
fn raw_text_holds_no_tags() {
    for (html, expected) in [
        ("<script>\"<head>\"</script>", "<script></script>"),
        ("<script></scriptx></script >", "<script></script>"),
        ("<script></SCRIPT/>", "<script></script>"),
        ("<script></</script>", "<script></script>"),
        ("<script><</script>", "<script></script>"),
        ("<style><head></style>", "<style></style>"),
        ("<title></titl</title>", "<title></title>"),
        ("<noscript><base href=x></noscript>", "<noscript></noscript>"),
        ("<textarea><!-- </textarea>", "<textarea></textarea>"),
        ("<script a='</script>'><p></script>", "<script></script>"),
        ("<script></script a='>'>x", "<script></script>T"),
        // A script in an escaped script.
        ("<script><!-- </script>x", "<script></script>T"),
        ("<script><!-- <script> </script> <p></script>x", "<script></script>T"),
        ("<script><!-- <script> </script> --></script>x", "<script></script>T"),
        ("<script><!-- <script> --></script>x", "<script></script>T"),
        ("<script><!-- <scripts> </script>x", "<script></script>T"),
        ("<script><!--><script></script>x", "<script></script>T"),
        ("<script><!-- <script> </script>x", "<script>"),
        ("<script><!-- - -><script> </script> </script>x", "<script></script>T"),
        ("<script><script></script>x", "<script></script>T"),
    ] {
        assert_eq!(tokens(html), expected, "{html}");
    }
}

#[test]
fn a_byte_order_mark_is_no_text_but_half_of_one_is() {
    let first = |bytes: &[u8]| {
        let mut tokenizer = Tokenizer::new();
        bytes
            .iter()
            .find_map(|byte| tokenizer.take(*byte))
            .map(|found| (found.token == Token::Text, found.start))
    };
    assert_eq!(first(b"\xef\xbb\xbf <p>"), Some((false, 4)));
    assert_eq!(first(b"\xef\xbb<p>"), Some((true, 0)));
    assert_eq!(first(b"\xef<p>"), Some((true, 0)));
    assert_eq!(first(b"<p>"), Some((false, 0)));
}

#[test]
fn text_starts_at_the_bracket_that_opens_nothing() {
    let mut tokenizer = Tokenizer::new();
    let found: Vec<_> = b" < <<p>".iter().filter_map(|byte| tokenizer.take(*byte)).collect();
    let starts: Vec<_> = found.iter().map(|found| found.start).collect();
    assert_eq!(starts, [1, 3, 4]);
}
