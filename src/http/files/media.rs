//! What a file's name tells: its media type, whether it compresses, and whether its content can ever change.

use http::HeaderValue;

/// How files of one type are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    pub content_type: HeaderValue,
    /// Text and its like: precompressed siblings are looked for.
    pub compressible: bool,
    pub html: bool,
}

impl Media {
    /// By the extension of the last name of a path.
    pub fn of(name: &[u8]) -> Media {
        let extension = extension(name).unwrap_or_default().to_ascii_lowercase();
        // Where the table of `mime_guess` is silent, dated, or means something else than the web does.
        let essence = match extension.as_str() {
            "js" | "mjs" | "cjs" => "text/javascript",
            "map" => "application/json",
            "wasm" => "application/wasm",
            "webmanifest" => "application/manifest+json",
            "jsonld" => "application/ld+json",
            "ico" => "image/x-icon",
            "avif" => "image/avif",
            extension => mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream"),
        };
        let text = essence.starts_with("text/")
            || essence.ends_with("json")
            || essence.ends_with("xml")
            || essence == "application/javascript";
        let value = match text {
            true => HeaderValue::try_from(format!("{essence}; charset=utf-8")),
            false => HeaderValue::try_from(essence),
        };
        Media {
            content_type: value.expect("media types are visible ASCII"),
            compressible: text
                || matches!(essence, "application/wasm" | "font/ttf" | "font/otf" | "image/x-icon"),
            html: essence == "text/html",
        }
    }
}

/// What stands behind the last dot, if there is something before and behind it.
pub fn extension(name: &[u8]) -> Option<&str> {
    let name = name.rsplit(|b| *b == b'/').next()?;
    let dot = name.iter().rposition(|b| *b == b'.').filter(|dot| *dot > 0)?;
    std::str::from_utf8(&name[dot + 1..]).ok().filter(|extension| !extension.is_empty())
}

/// True for names that bundlers derive from the content (`app.3f9c2a1b.js`, `index-BxY12_a9.js`): another content
/// would have another name. Rather misses one (it is revalidated then) than takes a word or a date for a hash.
pub fn is_hashed(name: &[u8]) -> bool {
    let name = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    let Some(extension) = extension(name) else { return false };
    let mut stem = &name[..name.len() - extension.len() - 1];
    // `app.3f9c2a1b.js.map`, `main.3f9c2a1b.chunk.js`
    while let Some(inner) = self::extension(stem).filter(|inner| SECOND.contains(inner)) {
        stem = &stem[..stem.len() - inner.len() - 1];
    }
    let boundary = |b: &u8| matches!(b, b'.' | b'-');
    let Some(at) = stem.iter().rposition(boundary) else { return false };
    // Rollup's hashes have eight characters that may be dashes themselves.
    let eight = stem.len().checked_sub(9).filter(|at| boundary(&stem[*at])).map(|at| &stem[at + 1..]);
    is_hash(&stem[at + 1..]) || eight.is_some_and(is_hash)
}

/// What may stand between the hash and the extension.
const SECOND: &[&str] = &["js", "mjs", "css", "chunk", "min", "module", "bundle"];

/// Words and dates change between letters and digits, or between cases, seldom; hashes do it all the time.
fn is_hash(token: &[u8]) -> bool {
    let class = |b: &u8| match b {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    let changes = token.windows(2).filter(|pair| class(&pair[0]) != class(&pair[1])).count();
    let all = |accept: fn(&u8) -> bool| token.iter().all(accept);
    let hexadecimal = all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let base32 = token.len() == 8 && all(|b| matches!(b, b'2'..=b'7' | b'A'..=b'Z'));
    let base64 = all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let digit = token.iter().any(u8::is_ascii_digit);
    (8..=64).contains(&token.len())
        && digit
        && (((hexadecimal || base32) && changes >= 2) || (base64 && changes >= 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_those_the_web_expects() {
        for (name, content_type) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/INDEX.HTM", "text/html; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("app.js.map", "application/json; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("site.webmanifest", "application/manifest+json; charset=utf-8"),
            ("logo.svg", "image/svg+xml; charset=utf-8"),
            ("feed.xml", "text/xml; charset=utf-8"),
            ("read.txt", "text/plain; charset=utf-8"),
            ("module.wasm", "application/wasm"),
            ("photo.jpeg", "image/jpeg"),
            ("photo.avif", "image/avif"),
            ("font.woff2", "font/woff2"),
            ("film.mp4", "video/mp4"),
            ("favicon.ico", "image/x-icon"),
            ("archive.tar.gz", "application/gzip"),
            ("LICENSE", "application/octet-stream"),
            ("odd.", "application/octet-stream"),
            ("a.\u{e9}\u{0}", "application/octet-stream"),
        ] {
            assert_eq!(Media::of(name.as_bytes()).content_type, content_type, "{name}");
        }
        assert!(Media::of(b"a.html").html && !Media::of(b"a.xhtml").html);
        assert!(Media::of(b"a.wasm").compressible && !Media::of(b"a.png").compressible);
    }

    #[test]
    fn only_names_with_a_hash_never_change() {
        for name in [
            "app.3f9c2a1b.js",
            "assets/index-BxY12_a9.js",
            "assets/index-B-Y12_a9.css",
            "chunk-1zv2p05e.js",
            "main.0a1b2c3d4e5f60718293.chunk.js.map",
            "logo-3K5LQWE7.svg",
            "app.3f9c2a1b.js.map",
            "inter-latin-9f8e7d6c5b4a.woff2",
        ] {
            assert!(is_hashed(name.as_bytes()), "{name}");
        }
        for name in [
            "index.html",
            "app.js",
            "my-computer.js",
            "user-UserList.js",
            "report-20240101.csv",
            "photo-1280x720.jpg",
            "photo-1920x1080.jpg",
            "logo-3dmodels.png",
            "book-chapter1.pdf",
            "jquery-3.7.1.min.js",
            "IMG-Summer23.jpg",
            "3f9c2a1b.js",
            "font-awesome.css",
            "app-12345678.js",
            "-.js",
            ".js",
            "",
        ] {
            assert!(!is_hashed(name.as_bytes()), "{name}");
        }
    }
}
