//! A pattern's JSON as a tree that remembers where in the text each value stands, and keeps repeated names.

use std::fmt;

use super::cursor::{Cursor, DEPTH_MAX, Mistake, RawText, TOO_DEEP, unescape};

/// A value and where it begins in the text.
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Json,
}

/// A value as it is written.
pub(super) enum Json {
    Null,
    Boolean(bool),
    /// A number's text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object.
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) node: Node,
}

impl Json {
    /// What it is, in an error's words.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(text) if text.is_empty() => "an empty string",
            Self::Text(_) => "a string",
            Self::List(list) if list.is_empty() => "an empty list",
            Self::List(_) => "such a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Prints it as short as JSON can be, numbers as they were spelt.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::Value::from(text);
        let comma = |at: usize| if at == 0 { "" } else { "," };
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Number(number) => f.write_str(number),
            Self::Text(value) => write!(f, "{}", text(value)),
            Self::List(nodes) => {
                f.write_str("[")?;
                for (at, node) in nodes.iter().enumerate() {
                    write!(f, "{}{}", comma(at), node.value)?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, member) in members.iter().enumerate() {
                    write!(f, "{}{}:{}", comma(at), text(&member.name), member.node.value)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Reads one value and nothing behind it; on a mistake says where.
pub(super) fn read(text: &str) -> Result<Node, (usize, Mistake)> {
    let mut cursor = Cursor::new(text.as_bytes(), 0);
    let node = value(&mut cursor, 0);
    node.and_then(|node| cursor.end().map(|()| node)).map_err(|mistake| (cursor.at, mistake))
}

fn value(cursor: &mut Cursor<'_>, depth: usize) -> Result<Node, Mistake> {
    if depth > DEPTH_MAX {
        return Err(TOO_DEEP);
    }
    let first = cursor.peek();
    let at = cursor.at;
    let value = match first {
        Some(b'{') => object(cursor, depth)?,
        Some(b'[') => list(cursor, depth)?,
        Some(b'"') => {
            let raw = cursor.text()?;
            Json::Text(text(cursor.bytes, raw)?)
        }
        Some(b't') => cursor.word(b"true").map(|()| Json::Boolean(true))?,
        Some(b'f') => cursor.word(b"false").map(|()| Json::Boolean(false))?,
        Some(b'n') => cursor.word(b"null").map(|()| Json::Null)?,
        Some(_) => Json::Number(String::from_utf8_lossy(cursor.number()?).into_owned()),
        None => return Err("the text ends where a value must come"),
    };
    Ok(Node { at, value })
}

fn object(cursor: &mut Cursor<'_>, depth: usize) -> Result<Json, Mistake> {
    let mut members = Vec::new();
    cursor.at += 1;
    if cursor.take(b'}') {
        return Ok(Json::Object(members));
    }
    loop {
        cursor.peek();
        let at = cursor.at;
        let raw = cursor.key()?;
        let name = text(cursor.bytes, raw)?;
        members.push(Member { at, name, node: value(cursor, depth + 1)? });
        if cursor.take(b'}') {
            return Ok(Json::Object(members));
        }
        if !cursor.take(b',') {
            return Err("a comma or a closing brace must come here");
        }
    }
}

fn list(cursor: &mut Cursor<'_>, depth: usize) -> Result<Json, Mistake> {
    let mut nodes = Vec::new();
    cursor.at += 1;
    if cursor.take(b']') {
        return Ok(Json::List(nodes));
    }
    loop {
        nodes.push(value(cursor, depth + 1)?);
        if cursor.take(b']') {
            return Ok(Json::List(nodes));
        }
        if !cursor.take(b',') {
            return Err("a comma or a closing bracket must come here");
        }
    }
}

fn text(bytes: &[u8], raw: RawText) -> Result<String, Mistake> {
    let mut meaning = Vec::with_capacity(raw.end - raw.start);
    unescape(&bytes[raw.start..raw.end], &mut meaning);
    String::from_utf8(meaning).map_err(|_| "half a surrogate pair is no text")
}
