//! Which names are one on some file system: those that differ in case, or in how an accent is written.

/// What is the same for all names that may be one, and what tells those that are not apart after all.
///
/// There is no table of all characters here. Every character that is not ASCII, and every one with marks behind it,
/// becomes the same sign, so that `é` and `e` with a mark have equal signs. Names of equal signs are then compared
/// letter by letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    pub signs: String,
    pub letters: String,
}

impl Likeness {
    pub fn of(name: &str) -> Likeness {
        let folded: String = name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
        let (mut signs, mut letters) = (String::new(), String::new());
        for letter in split(&folded) {
            let ascii = letter.len() == 1 && letter.is_ascii();
            signs.push_str(if ascii { letter } else { "\u{fffd}" });
            // The order of marks on one letter means nothing.
            let mut characters: Vec<char> = letter.chars().collect();
            if let Some(marks) = characters.get_mut(1..) {
                marks.sort_unstable();
            }
            letters.extend(characters);
        }
        Likeness { signs, letters }
    }

    /// Whether two names may be one.
    pub fn clashes(&self, other: &Likeness) -> bool {
        self.signs == other.signs
            && split(&self.letters).zip(split(&other.letters)).all(|(a, b)| a == b || may_be_one(a, b))
    }
}

/// A letter with marks may be one with a letter that has them built in, all or some.
fn may_be_one(a: &str, b: &str) -> bool {
    let parts = |letter: &str| {
        let mut characters = letter.chars();
        (characters.next().is_some_and(|base| base.is_ascii()), characters.next().is_some())
    };
    let ((a_ascii, a_marked), (b_ascii, b_marked)) = (parts(a), parts(b));
    a_marked != b_marked || (a_marked && a_ascii != b_ascii)
}

/// A text letter by letter, each with the marks behind it.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut indices = rest.char_indices();
        indices.next()?;
        let end = indices.find(|&(_, c)| !is_mark(c)).map_or(rest.len(), |(at, _)| at);
        let (letter, after) = rest.split_at(end);
        rest = after;
        Some(letter)
    })
}

/// Characters that normalisation joins with the one before them: accents of the alphabets, the voicing marks of
/// Japanese, vowels and finals of Korean, vowel signs and the like of the scripts of India.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{653}'..='\u{655}' | '\u{93c}' | '\u{9bc}' | '\u{9be}'
        | '\u{9d7}' | '\u{a3c}' | '\u{b3c}' | '\u{b3e}' | '\u{b56}' | '\u{b57}' | '\u{bbe}' | '\u{bd7}'
        | '\u{c56}' | '\u{cc2}' | '\u{cd5}' | '\u{cd6}' | '\u{d3e}' | '\u{d57}' | '\u{dca}' | '\u{dcf}' | '\u{ddf}'
        | '\u{f71}'..='\u{f80}' | '\u{fb5}' | '\u{fb7}' | '\u{102e}' | '\u{1160}'..='\u{11ff}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clash(a: &str, b: &str) -> bool {
        let clashes = Likeness::of(a).clashes(&Likeness::of(b));
        assert_eq!(clashes, Likeness::of(b).clashes(&Likeness::of(a)), "{a} {b}");
        clashes
    }

    #[test]
    fn names_that_differ_in_case_or_in_how_accents_are_written_clash() {
        for (a, b) in [
            ("Index.ts", "index.ts"),
            ("STRASSE", "stra\u{df}e"),
            ("\u{c9}t\u{e9}", "\u{e9}t\u{e9}"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("\u{e9}e\u{301}", "e\u{301}\u{e9}"),
            ("a\u{323}\u{301}", "a\u{301}\u{323}"),
            ("\u{212b}", "\u{e5}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("\u{304c}", "\u{304b}\u{3099}"),
        ] {
            assert!(clash(a, b), "{a} {b}");
        }
    }

    #[test]
    fn names_that_are_two_everywhere_do_not() {
        for (a, b) in [
            ("a", "b"),
            ("cafe", "caf\u{e9}"),
            ("caf\u{e9}", "caf\u{e8}"),
            ("cafe\u{301}", "cafe\u{300}"),
            ("日本", "日光"),
            ("\u{304b}\u{3099}", "\u{304d}\u{3099}"),
            ("a-b", "a_b"),
        ] {
            assert!(!clash(a, b), "{a} {b}");
        }
    }
}
