//! The reader: accepts what Python's `json.loads` accepts, and says what is wrong as it does.

use std::collections::HashMap;

use super::Json;

/// Values within values: far more than any body of this API has, far less than the stack takes.
const MAX_DEPTH: usize = 100;
/// Digits of a whole number: where Python gives up by itself.
const MAX_DIGITS: usize = 4_300;

/// What is wrong with a text that is to be JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// A mistake, at this character (not byte), counted from 0.
    Syntax {
        /// In Python's words.
        message: &'static str,
        /// Where.
        at: usize,
    },
    /// It is not UTF-8, is nested too deeply, or has a number of too many digits.
    Unreadable,
}

/// Reads the JSON text of a body.
pub(crate) fn parse(text: &str) -> Result<Json, ParseError> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, depth: 0 };
    reader.skip_space();
    let value = reader.value()?;
    reader.skip_space();
    if reader.at < chars.len() { Err(syntax("Extra data", reader.at)) } else { Ok(value) }
}

fn syntax(message: &'static str, at: usize) -> ParseError {
    ParseError::Syntax { message, at }
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json, ParseError> {
        match self.peek() {
            Some('"') => self.text().map(Json::Text),
            Some('{') => self.nested(Reader::object),
            Some('[') => self.nested(Reader::list),
            Some('-' | '0'..='9') => self.number(),
            _ => self.word(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, ParseError>) -> Result<Json, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(ParseError::Unreadable);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Json, ParseError> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some('"') {
                return Err(syntax("Expecting property name enclosed in double quotes", self.at));
            }
            let name = self.text()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return Err(syntax("Expecting ':' delimiter", self.at));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value()?;
            // Of a name that comes again, the last value counts, at the first place.
            match known.get(&name) {
                Some(&place) => members[place].1 = value,
                None => {
                    known.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
            self.skip_space();
            match self.peek() {
                Some('}') => break,
                Some(',') => self.at += 1,
                _ => return Err(syntax("Expecting ',' delimiter", self.at)),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Json::Object(members))
    }

    fn list(&mut self) -> Result<Json, ParseError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(']') => break,
                Some(',') => self.at += 1,
                _ => return Err(syntax("Expecting ',' delimiter", self.at)),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Json::List(items))
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let begin = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(char) = self.peek() else {
                return Err(syntax("Unterminated string starting at", begin));
            };
            match char {
                '"' => break,
                '\\' => text.push(self.escape(begin)?),
                control if control < ' ' => return Err(syntax("Invalid control character at", self.at)),
                other => {
                    text.push(other);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(text)
    }

    fn escape(&mut self, begin: usize) -> Result<char, ParseError> {
        let backslash = self.at;
        let Some(&kind) = self.chars.get(backslash + 1) else {
            return Err(syntax("Unterminated string starting at", begin));
        };
        self.at += 2;
        Ok(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return Err(syntax("Invalid \\escape", backslash)),
        })
    }

    /// Half of a pair without its other half, which Python keeps, becomes the replacement character.
    fn unicode(&mut self) -> Result<char, ParseError> {
        let first = self.hex(self.at).ok_or_else(|| syntax("Invalid \\uXXXX escape", self.at - 1))?;
        self.at += 4;
        if (0xd800..0xdc00).contains(&first)
            && self.chars.get(self.at..self.at + 2) == Some(&['\\', 'u'])
            && let Some(second) = self.hex(self.at + 2)
            && (0xdc00..0xe000).contains(&second)
        {
            self.at += 6;
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&self, at: usize) -> Option<u32> {
        // Python wants a character after the digits, too: at least the quote.
        self.chars.get(at + 4)?;
        self.chars[at..at + 4].iter().try_fold(0, |sum, char| Some(sum << 4 | char.to_digit(16)?))
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let begin = self.at;
        let mut end = begin + usize::from(self.chars[begin] == '-');
        let digits = |from: usize| {
            self.chars[from.min(self.chars.len())..].iter().take_while(|c| c.is_ascii_digit()).count()
        };
        end += match self.chars.get(end) {
            Some('0') => 1,
            Some('1'..='9') => digits(end),
            _ => return self.word(),
        };
        let whole = end;
        if self.chars.get(end) == Some(&'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(self.chars.get(end), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.chars.get(end + 1), Some('+' | '-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
        let text: String = self.chars[begin..end].iter().collect();
        self.at = end;
        if end == whole {
            return if whole - begin > MAX_DIGITS {
                Err(ParseError::Unreadable)
            } else {
                Ok(Json::Int(text.into()))
            };
        }
        text.parse().map(|value| Json::Float(value, text.into())).map_err(|_| ParseError::Unreadable)
    }

    fn word(&mut self) -> Result<Json, ParseError> {
        let words = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Float(f64::NAN, "NaN".into())),
            ("Infinity", Json::Float(f64::INFINITY, "Infinity".into())),
            ("-Infinity", Json::Float(f64::NEG_INFINITY, "-Infinity".into())),
        ];
        let rest = &self.chars[self.at..];
        for (word, value) in words {
            if rest.len() >= word.len() && word.chars().zip(rest).all(|(one, two)| one == *two) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(syntax("Expecting value", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_as_python_tells_them() {
        let check = |text: &str, message: &'static str, at: usize| {
            assert_eq!(parse(text), Err(syntax(message, at)), "{text:?}");
        };
        check("", "Expecting value", 0);
        check("{", "Expecting property name enclosed in double quotes", 1);
        check("[", "Expecting value", 1);
        check("nope", "Expecting value", 0);
        check("{\"a\"", "Expecting ':' delimiter", 4);
        check("{\"a\":", "Expecting value", 5);
        check("{\"a\":1", "Expecting ',' delimiter", 6);
        check("{\"a\":1,", "Expecting property name enclosed in double quotes", 7);
        check("{\"a\":1,}", "Expecting property name enclosed in double quotes", 7);
        check("{\"a\" 1}", "Expecting ':' delimiter", 5);
        check("{1:2}", "Expecting property name enclosed in double quotes", 1);
        check("{'a':1}", "Expecting property name enclosed in double quotes", 1);
        check("[1", "Expecting ',' delimiter", 2);
        check("[1,", "Expecting value", 3);
        check("[1,]", "Expecting value", 3);
        check("[1 2]", "Expecting ',' delimiter", 3);
        check("\"abc", "Unterminated string starting at", 0);
        check("\"a\\", "Unterminated string starting at", 0);
        check("\"a\\x\"", "Invalid \\escape", 2);
        check("\"\\u12\"", "Invalid \\uXXXX escape", 2);
        check("\"\\u12g4\"", "Invalid \\uXXXX escape", 2);
        check("\"\\u1234", "Invalid \\uXXXX escape", 2);
        check("\"\t\"", "Invalid control character at", 1);
        check("1 x", "Extra data", 2);
        check("01", "Extra data", 1);
        check("-", "Expecting value", 0);
        check("-a", "Expecting value", 0);
        check("1.", "Extra data", 1);
        check("1e", "Extra data", 1);
        check(".5", "Expecting value", 0);
        check("+1", "Expecting value", 0);
        check("tru", "Expecting value", 0);
        check("nul", "Expecting value", 0);
        check("{\"a\":1} {", "Extra data", 8);
        check("{\"ü🚀\":x}", "Expecting value", 6);
        check("[[1,2", "Expecting ',' delimiter", 5);
        check("  ", "Expecting value", 2);
        check("{\"a\":tru}", "Expecting value", 5);
        check("\"\\ud800\\u12\"", "Invalid \\uXXXX escape", 8);
        check("nulll", "Extra data", 4);
        check("NaN1", "Extra data", 3);
        check("-Inf", "Expecting value", 0);
        check("{\"a\":1,,}", "Expecting property name enclosed in double quotes", 7);
        check("[,1]", "Expecting value", 1);
        check("{,}", "Expecting property name enclosed in double quotes", 1);
        check("\"\\u123", "Invalid \\uXXXX escape", 2);
    }

    #[test]
    fn what_python_reads_is_read() {
        let check = |text: &str, expect: &str| {
            let mut written = String::new();
            parse(text).unwrap().write(&mut written);
            assert_eq!(written, expect, "{text:?}");
        };
        check(" {\"b\": 1, \"a\": [true, null], \"b\": 2} ", r#"{"b":2,"a":[true,null]}"#);
        check(
            "[1.50, -0, 1e5, 123456789012345678901234567890]",
            "[1.50,-0,1e5,123456789012345678901234567890]",
        );
        check("[NaN, -Infinity, 1e999]", "[null,null,null]");
        check(r#""\u00fc\ud83d\ude80\ud83d\n\u0001""#, "\"ü🚀\u{fffd}\\n\\u0001\"");
    }

    #[test]
    fn depth_and_digits_are_bounded() {
        assert_eq!(parse(&"[".repeat(101)), Err(ParseError::Unreadable));
        assert_eq!(parse(&"9".repeat(4_301)), Err(ParseError::Unreadable));
        assert!(parse(&"9".repeat(4_300)).is_ok());
    }
}
