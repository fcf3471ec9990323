//! Words of a text, and where they stand.

use super::SyntaxError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A name or a word of the language.
    Name(String),
    /// A text without its quotes.
    Text(String),
    /// A number as it was written.
    Number(String),
    /// `=`, `<=`, `(` and the like.
    Sign(&'static str),
    End,
}

/// A word and the character at which it begins, from 0.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) at: usize,
}

/// Characters of the picture on each side of its caret.
const PICTURE_RADIUS: usize = 60;

/// What is wrong at character `at` of `text`.
pub(super) fn error(text: &str, at: usize, problem: impl Into<String>) -> SyntaxError {
    let flat: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = at.saturating_sub(PICTURE_RADIUS);
    let to = flat.len().min(at + PICTURE_RADIUS);
    let shown: String = flat[from.min(to)..to].iter().collect();
    let picture = format!("  {shown}\n  {}^", " ".repeat(at - from));
    SyntaxError { problem: problem.into(), column: at + 1, picture }
}

const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

pub(super) fn lex(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let chars: Vec<char> = text.chars().collect();
    if let Some(at) = chars.iter().position(|c| *c == '\0') {
        return Err(error(text, at, "a NUL character means nothing here"));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (word, end) = match c {
            '\'' | '"' => quoted(text, &chars, at)?,
            '`' => {
                let (word, end) = quoted(text, &chars, at)?;
                let Word::Text(name) = word else { unreachable!("what is quoted is a text") };
                (Word::Name(name), end)
            }
            _ if c.is_ascii_alphabetic() || c == '_' => {
                let end = run_of(&chars, at, |c| c.is_ascii_alphanumeric() || c == '_');
                (Word::Name(chars[at..end].iter().collect()), end)
            }
            _ if c.is_ascii_digit()
                || ((c == '-' || c == '+') && chars.get(at + 1).is_some_and(char::is_ascii_digit)) =>
            {
                let end = run_of(&chars, at + 1, |c| c.is_ascii_alphanumeric() || c == '.');
                (Word::Number(chars[at..end].iter().collect()), end)
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| chars[at..].iter().take(sign.len()).copied().eq(sign.chars()));
                match sign {
                    Some(sign) => (Word::Sign(if sign == "<>" { "!=" } else { sign }), at + sign.len()),
                    None => return Err(error(text, at, format!("{c:?} means nothing here"))),
                }
            }
        };
        tokens.push(Token { word, at });
        at = end;
    }
    tokens.push(Token { word: Word::End, at: chars.len() });
    Ok(tokens)
}

fn run_of(chars: &[char], from: usize, belongs: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| !belongs(*c)).map_or(chars.len(), |length| from + length)
}

/// A quote within the text is written twice.
fn quoted(text: &str, chars: &[char], begin: usize) -> Result<(Word, usize), SyntaxError> {
    let quote = chars[begin];
    let mut content = String::new();
    let mut at = begin + 1;
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (None, _) => return Err(error(text, begin, format!("this {quote} is not closed by another"))),
            (Some(c), Some(next)) if *c == quote && *next == quote => {
                content.push(quote);
                at += 2;
            }
            (Some(c), _) if *c == quote => return Ok((Word::Text(content), at + 1)),
            (Some(c), _) => {
                content.push(*c);
                at += 1;
            }
        }
    }
}
