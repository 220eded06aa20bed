//! Parses a pickle to a tree of inert values. Nothing in it is executed.
//!
//! A pickle is a program for a stack machine. This machine has the stack and the memo, but calls nothing: a global is
//! only two names, and a call becomes a node that records it. `numpy` recognises arrays in that tree by a fixed list of
//! names. All other objects are only named in messages.
//!
//! VGGFace2's weights are a pickled dictionary of numpy arrays, which no suitable crate reads. pytorch-reader (of burn)
//! is well maintained and hardened, and reads files of torch.save (see `torch`), but not numpy's arrays. serde-pickle
//! turns objects into values and loses the dtype and state of arrays. repugnant-pickle is unfinished. candle's reader
//! needs candle and reads only tensors.
//!
//! Limits: the numbers of nodes, steps and memos are bounded, texts and bytes are ranges of the input, and nothing
//! recurses.

mod machine;
mod text;

use std::borrow::Cow;
use std::ops::Range;

/// The index of a node in its tree.
pub(super) type Id = usize;

/// A parsed pickle and its bytes.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    root: Id,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// A number wider than 64 bits, a float or a set: never the name or the content of a tensor.
    Other(&'static str),
    Text(Content),
    Bytes(Content),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<[Id; 2]>),
    /// A class or function, by name only.
    Global {
        module: String,
        name: String,
    },
    /// The result of calling `callable` with `args`; `state` and `items` would be set on it afterwards.
    Object {
        callable: Id,
        args: Id,
        state: Option<Id>,
        items: Vec<[Id; 2]>,
    },
}

/// The content of a text or byte string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A range of the input.
    Range(Range<usize>),
    /// An unescaped quoted text of protocol 0.
    Unescaped(Vec<u8>),
}

impl Content {
    /// The content. `input` must be the parsed bytes.
    pub(super) fn of<'s>(&'s self, input: &'s [u8]) -> &'s [u8] {
        match self {
            Self::Range(range) => &input[range.clone()],
            Self::Unescaped(bytes) => bytes,
        }
    }
}

/// Why a pickle cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    #[error("the pickle ends in the middle, at byte {at}")]
    Truncated { at: usize },
    #[error("byte {at} of the pickle, 0x{opcode:02x}, is not an instruction that arrays need")]
    Opcode { at: usize, opcode: u8 },
    #[error("the pickle is damaged at byte {at}: {problem}")]
    Malformed { at: usize, problem: &'static str },
    #[error("the pickle has more than {limit} {what}: it is not a weights file")]
    TooMany { limit: usize, what: &'static str },
}

impl<'a> Pickle<'a> {
    /// Parses the pickle at the start of `input`.
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, PickleError> {
        let (nodes, root) = machine::run(input)?;
        Ok(Self { input, nodes, root })
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// A text, or a byte string, which is how Python 2 wrote texts.
    pub(super) fn text(&self, id: Id) -> Option<Cow<'_, str>> {
        match self.node(id) {
            Node::Text(content) | Node::Bytes(content) => {
                Some(String::from_utf8_lossy(content.of(self.input)))
            }
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a global.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The entries of a dictionary, ordered or not.
    pub(super) fn entries(&self, id: Id) -> Option<&[[Id; 2]]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Object { callable, items, .. }
                if matches!(
                    self.global(*callable),
                    Some(
                        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict")
                    )
                ) =>
            {
                Some(items)
            }
            _ => None,
        }
    }

    /// The kind of the value, in words.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::None => "None".to_owned(),
            Node::Bool(_) => "a boolean".to_owned(),
            Node::Int(_) => "a number".to_owned(),
            Node::Other(what) => (*what).to_owned(),
            Node::Text(_) => "a text".to_owned(),
            Node::Bytes(_) => "a byte string".to_owned(),
            Node::Tuple(_) => "a tuple".to_owned(),
            Node::List(_) => "a list".to_owned(),
            Node::Dict(_) => "a dictionary".to_owned(),
            Node::Global { module, name } => format!("`{module}.{name}`"),
            Node::Object { callable, .. } => match self.global(*callable) {
                Some((module, name)) => format!("an object of `{module}.{name}`"),
                None => "an object".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
