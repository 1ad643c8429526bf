//! Tags, text and doctypes of an HTML document, one byte at a time (HTML §13.2.5). Comments are passed over, the
//! content of raw-text elements too. It may stop anywhere between two bytes, and holds nothing but a few words.

/// What was found. Text is reported for each byte of it that is no white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Text,
    Doctype,
    Start { name: Word, has_href: bool, has_charset: bool, pragma: Option<Pragma> },
    End { name: Word },
}

/// Where the values of a tag's `http-equiv` and `content` stand, which are offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pragma {
    pub name: Span,
    pub content: Span,
}

pub type Span = (usize, usize);

/// A token and where it stands: offsets of its first byte and of the byte behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub token: Token,
    pub start: usize,
    pub end: usize,
}

/// A name in lower case. One that is longer than any we know equals none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    bytes: [u8; 10],
    length: u8,
}

impl Word {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = byte.to_ascii_lowercase();
                self.length += 1;
            }
            // No name that we know has a NUL in it.
            None => self.bytes[0] = 0,
        }
    }
}

/// Elements whose content is text up to their end tag. `noscript`: as browsers with scripting see it.
const RAW: [&[u8]; 9] =
    [b"script", b"style", b"title", b"textarea", b"noscript", b"noframes", b"iframe", b"noembed", b"xmp"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first bytes, so many of which were those of a byte order mark.
    Mark(usize),
    Data,
    /// After `<`.
    Open,
    /// After `</`.
    EndOpen,
    TagName,
    BeforeAttribute,
    AttributeName,
    AfterAttributeName,
    BeforeValue,
    /// In a value that ends with this quote.
    Quoted(u8),
    Unquoted,
    /// After `<!`.
    Markup,
    /// After `<!-`.
    MarkupDash,
    /// Anything up to `>`: doctypes, `<?…>`, `<!…>`, `</…>`.
    Bogus,
    CommentStart,
    CommentStartDash,
    Comment,
    CommentDash,
    CommentEnd,
    CommentBang,
    Raw,
    /// In raw text after `<`.
    RawOpen,
    /// In raw text after `</` and so many letters of the name.
    RawEnd(usize),
    /// In an escaped script after `<` and so many letters of `script`.
    RawStart(usize),
    /// In a script after `<!` and after `<!-`.
    RawBang,
    RawBangDash,
}

/// A script whose content began with `<!--` does not end in what looks like another script (HTML §13.2.5.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Single,
    Double,
}

/// A token and the offset of its first byte.
type Step = Option<(Token, usize)>;

#[derive(Debug)]
pub struct Tokenizer {
    state: State,
    /// Bytes taken.
    at: usize,
    /// Where the token under way began.
    start: usize,
    end_tag: bool,
    name: Word,
    attribute: Word,
    has_href: bool,
    has_charset: bool,
    /// Where the value under way began.
    value: usize,
    http_equiv: Option<Span>,
    content: Option<Span>,
    escape: Escape,
    /// Dashes before this byte of an escaped script, up to two.
    dashes: u8,
}

impl Tokenizer {
    pub fn new() -> Tokenizer {
        Tokenizer {
            state: State::Mark(0),
            at: 0,
            start: 0,
            end_tag: false,
            name: Word::default(),
            attribute: Word::default(),
            has_href: false,
            has_charset: false,
            value: 0,
            http_equiv: None,
            content: None,
            escape: Escape::No,
            dashes: 0,
        }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The last offset that lies between two tokens: where the one under way began.
    pub fn boundary(&self) -> usize {
        if self.state == State::Data { self.at } else { self.start }
    }

    /// Takes one byte.
    pub fn take(&mut self, byte: u8) -> Option<Found> {
        let step = self.step(byte);
        self.at += 1;
        step.map(|(token, start)| Found { token, start, end: self.at })
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Mark(seen) => return self.mark(seen, byte),
            State::Data => return self.data(byte),
            State::Open => return self.open(byte),
            State::EndOpen => match byte {
                b'a'..=b'z' | b'A'..=b'Z' => self.begin_tag(true, byte),
                b'>' => self.state = State::Data,
                _ => self.state = State::Bogus,
            },
            State::TagName
            | State::BeforeAttribute
            | State::AttributeName
            | State::AfterAttributeName
            | State::BeforeValue
            | State::Quoted(_)
            | State::Unquoted => return self.tag(byte),
            State::Markup | State::MarkupDash | State::Bogus => return self.markup(byte),
            State::CommentStart
            | State::CommentStartDash
            | State::Comment
            | State::CommentDash
            | State::CommentEnd
            | State::CommentBang => self.comment(byte),
            State::Raw
            | State::RawOpen
            | State::RawEnd(_)
            | State::RawStart(_)
            | State::RawBang
            | State::RawBangDash => return self.raw(byte),
        }
        None
    }

    fn mark(&mut self, seen: usize, byte: u8) -> Step {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        if byte == MARK[seen] {
            self.state = if seen == 2 { State::Data } else { State::Mark(seen + 1) };
            return None;
        }
        let step = self.data(byte);
        // Half a mark is text.
        if seen > 0 { Some((Token::Text, 0)) } else { step }
    }

    fn data(&mut self, byte: u8) -> Step {
        self.state = State::Data;
        match byte {
            b'<' => {
                self.state = State::Open;
                self.start = self.at;
                None
            }
            byte if is_space(byte) => None,
            _ => Some((Token::Text, self.at)),
        }
    }

    fn open(&mut self, byte: u8) -> Step {
        match byte {
            b'!' => self.state = State::Markup,
            b'/' => self.state = State::EndOpen,
            b'?' => self.state = State::Bogus,
            b'a'..=b'z' | b'A'..=b'Z' => self.begin_tag(false, byte),
            _ => {
                // The `<` was text. So may this byte be, but one report is enough.
                let start = self.start;
                self.data(byte);
                return Some((Token::Text, start));
            }
        }
        None
    }

    fn begin_tag(&mut self, end: bool, first: u8) {
        self.state = State::TagName;
        self.end_tag = end;
        self.name = Word::default();
        self.name.push(first);
        (self.has_href, self.has_charset) = (false, false);
        (self.http_equiv, self.content) = (None, None);
    }

    fn tag(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::Quoted(quote), byte) => {
                if byte == quote {
                    self.end_value();
                    self.state = State::BeforeAttribute;
                }
            }
            (State::BeforeValue, b'"' | b'\'') => {
                self.value = self.at + 1;
                self.state = State::Quoted(byte);
            }
            (State::BeforeValue, byte) if is_space(byte) => {}
            (_, b'>') => {
                if self.state == State::Unquoted {
                    self.end_value();
                }
                self.end_attribute();
                return Some((self.finish_tag(), self.start));
            }
            (State::BeforeValue, _) => {
                self.value = self.at;
                self.state = State::Unquoted;
            }
            (State::Unquoted, byte) => {
                if is_space(byte) {
                    self.end_value();
                    self.state = State::BeforeAttribute;
                }
            }
            (State::TagName, byte) if byte != b'/' && !is_space(byte) => self.name.push(byte),
            (_, b'/') => {
                self.end_attribute();
                self.state = State::BeforeAttribute;
            }
            (State::AttributeName, byte) if is_space(byte) => {
                self.end_attribute();
                self.state = State::AfterAttributeName;
            }
            (State::AttributeName | State::AfterAttributeName, b'=') => {
                self.end_attribute();
                self.state = State::BeforeValue;
            }
            (State::AttributeName, byte) => self.attribute.push(byte),
            (State::TagName, _) => self.state = State::BeforeAttribute,
            (_, byte) if is_space(byte) => {}
            (_, byte) => {
                self.attribute = Word::default();
                self.attribute.push(byte);
                self.state = State::AttributeName;
            }
        }
        None
    }

    fn end_attribute(&mut self) {
        if self.state == State::AttributeName {
            self.has_href |= self.attribute.as_bytes() == b"href";
            self.has_charset |= self.attribute.as_bytes() == b"charset";
        }
    }

    /// The value ends before this byte. Of two attributes of a name the first counts.
    fn end_value(&mut self) {
        let value = Some((self.value, self.at));
        match self.attribute.as_bytes() {
            b"http-equiv" => self.http_equiv = self.http_equiv.or(value),
            b"content" => self.content = self.content.or(value),
            _ => {}
        }
    }

    fn finish_tag(&mut self) -> Token {
        self.state = State::Data;
        let name = self.name;
        if self.end_tag {
            return Token::End { name };
        }
        if RAW.contains(&name.as_bytes()) {
            self.state = State::Raw;
            self.escape = Escape::No;
            self.dashes = 0;
        }
        let pragma = self.http_equiv.zip(self.content).map(|(name, content)| Pragma { name, content });
        Token::Start { name, has_href: self.has_href, has_charset: self.has_charset, pragma }
    }

    fn markup(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (_, b'>') => self.state = State::Data,
            (State::Markup, b'-') => self.state = State::MarkupDash,
            (State::MarkupDash, b'-') => self.state = State::CommentStart,
            (State::Markup, b'd' | b'D') => {
                self.state = State::Bogus;
                return Some((Token::Doctype, self.start));
            }
            _ => self.state = State::Bogus,
        }
        None
    }

    fn comment(&mut self, byte: u8) {
        use State::*;
        self.state = match (self.state, byte) {
            (CommentStart | CommentStartDash | CommentEnd | CommentBang, b'>') => Data,
            (CommentStart, b'-') => CommentStartDash,
            (CommentStartDash | CommentDash | CommentEnd, b'-') => CommentEnd,
            (Comment | CommentBang, b'-') => CommentDash,
            (CommentEnd, b'!') => CommentBang,
            _ => Comment,
        };
    }

    fn raw(&mut self, byte: u8) -> Step {
        let dashes = std::mem::take(&mut self.dashes);
        match (self.state, byte) {
            (State::RawOpen, b'/') => self.state = State::RawEnd(0),
            (State::RawOpen, b'!') if self.is_script() && self.escape == Escape::No => {
                self.state = State::RawBang;
            }
            (State::RawOpen, b's' | b'S') if self.escape == Escape::Single => {
                self.state = State::RawStart(1);
            }
            (State::RawBang, b'-') => self.state = State::RawBangDash,
            (State::RawBangDash, b'-') => {
                self.state = State::Raw;
                self.escape = Escape::Single;
                self.dashes = 2;
            }
            (State::RawEnd(seen), byte) => return self.raw_end(seen, byte),
            (State::RawStart(seen), byte) => match b"script".get(seen) {
                Some(letter) if byte.eq_ignore_ascii_case(letter) => self.state = State::RawStart(seen + 1),
                None if ends_name(byte) => {
                    self.state = State::Raw;
                    self.escape = Escape::Double;
                }
                _ => self.raw_text(byte, 0),
            },
            (_, byte) => self.raw_text(byte, dashes),
        }
        None
    }

    fn raw_text(&mut self, byte: u8, dashes: u8) {
        self.state = State::Raw;
        match byte {
            b'<' => {
                self.state = State::RawOpen;
                self.start = self.at;
            }
            b'-' => self.dashes = (dashes + 1).min(2),
            b'>' if dashes == 2 => self.escape = Escape::No,
            _ => {}
        }
    }

    /// `</`, `seen` letters of the element's name, and this byte.
    fn raw_end(&mut self, seen: usize, byte: u8) -> Step {
        match self.name.as_bytes().get(seen) {
            Some(letter) if byte.eq_ignore_ascii_case(letter) => self.state = State::RawEnd(seen + 1),
            None if ends_name(byte) && self.escape == Escape::Double => {
                self.state = State::Raw;
                self.escape = Escape::Single;
            }
            None if ends_name(byte) => {
                self.end_tag = true;
                self.state = State::BeforeAttribute;
                return self.tag(byte);
            }
            _ => self.raw_text(byte, 0),
        }
        None
    }

    fn is_script(&self) -> bool {
        self.name.as_bytes() == b"script"
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

fn ends_name(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'/' | b'>')
}

#[cfg(test)]
mod tests;
