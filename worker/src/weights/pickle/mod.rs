//! A pickle as a tree of inert values: parsed, never executed.
//!
//! Pickle is a program for a stack machine. This machine has the stack and the memo but nothing to call: a global is
//! two names, and what the program would call becomes a node that says so. `numpy` reads arrays out of that tree by a
//! closed list of names; every other object stays a name in a message.
//!
//! Crates looked at: pytorch-reader (of burn) is well kept and hardened, and reads what torch.save wrote (see
//! `torch`), but leaves numpy's arrays out; serde-pickle turns objects into values and so loses the arrays' dtype and
//! state; repugnant-pickle is unfinished; candle's reader needs candle and knows tensors only. VGGFace2's weights are
//! a pickled dictionary of numpy arrays, hence this module.
//!
//! Bounds: nodes, steps and memo have fixed limits; texts and bytes are ranges of the input; nothing recurses.

mod machine;
mod text;

use std::borrow::Cow;
use std::ops::Range;

/// Place of a node in its tree.
pub(super) type Id = usize;

/// A parsed pickle over the bytes it came from.
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
    /// A number wider than 64 bits, a float, a set: nothing that names or holds a tensor.
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
    /// What calling `callable` with `args` would make; `state` and `items` are what it would be given afterwards.
    Object {
        callable: Id,
        args: Id,
        state: Option<Id>,
        items: Vec<[Id; 2]>,
    },
}

/// Where a text's or byte string's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// In the input as it is.
    Range(Range<usize>),
    /// Unescaped from one of protocol 0's quoted texts.
    Unescaped(Vec<u8>),
}

impl Content {
    /// The content, given the input it was parsed from.
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
    #[error("byte {at} of the pickle, 0x{opcode:02x}, is not an instruction that a file of arrays needs")]
    Opcode { at: usize, opcode: u8 },
    #[error("the pickle is damaged at byte {at}: {problem}")]
    Malformed { at: usize, problem: &'static str },
    #[error("the pickle has more than {limit} {what}: it is not a file of weights")]
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

    /// A text, or a byte string as Python 2 wrote texts.
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

    /// What kind of value it is, in words.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::None => "None".to_owned(),
            Node::Bool(_) => "a truth value".to_owned(),
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
