//! The stack machine that turns a pickle's instructions into nodes.

use std::collections::HashMap;
use std::ops::Range;

use super::text::{integer, raw_unicode, unquote};
use super::{Content, Id, Node, PickleError};

/// A limit; a ResNet50's weights need about ten thousand.
const MAX_NODES: usize = 1 << 20;
const MAX_STEPS: usize = 1 << 23;
/// The longest module or name of a global, in bytes. They are copied, unlike other texts.
const MAX_NAME: usize = 256;

pub(super) fn run(input: &[u8]) -> Result<(Vec<Node>, Id), PickleError> {
    let mut machine = Machine {
        input,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _ in 0..MAX_STEPS {
        if let Some(root) = machine.step()? {
            return Ok((machine.nodes, root));
        }
    }
    Err(PickleError::TooMany { limit: MAX_STEPS, what: "instructions" })
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// The height of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T = ()> = Result<T, PickleError>;

impl<'a> Machine<'a> {
    /// Executes one instruction. Returns the root after the last one.
    fn step(&mut self) -> Step<Option<Id>> {
        let start = self.at;
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.byte()?), // Protocol: not needed, because every instruction is unambiguous.
            0x95 => self.at = self.take(8)?.end, // Frame: a hint for readers of streams.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.peek()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => self.number(opcode)?,
            b'S' | b'V' | b'T' | b'U' | b'B' | b'C' | b'X' | 0x8c | 0x8d | 0x8e | 0x96 => {
                self.string(opcode)?;
            }
            b')' | b't' | 0x85 | 0x86 | 0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => {
                self.container(opcode)?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.remember(opcode)?,
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'o' | b'i' | b'b' => self.object(opcode)?,
            _ => return Err(PickleError::Opcode { at: start, opcode }),
        }
        Ok(None)
    }

    fn number(&mut self, opcode: u8) -> Step {
        let at = self.at;
        let node = match opcode {
            b'I' => match self.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                line => integer(line, at)?.map_or(Node::Other("a long number"), Node::Int),
            },
            b'L' => integer(self.line()?, at)?.map_or(Node::Other("a long number"), Node::Int),
            b'J' => Node::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Node::Int(i64::from(self.byte()?)),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(self.array()?))),
            0x8a => {
                let length = usize::from(self.byte()?);
                self.long(length)?
            }
            0x8b => {
                let length = self.length(4)?;
                self.long(length)?
            }
            b'F' => {
                self.line()?;
                Node::Other("a fraction")
            }
            _ => {
                self.take(8)?;
                Node::Other("a fraction")
            }
        };
        self.push(node)
    }

    /// A little-endian two's complement number of `length` bytes.
    fn long(&mut self, length: usize) -> Step<Node> {
        let range = self.take(length)?;
        let bytes = &self.input[range];
        if bytes.len() > 8 {
            return Ok(Node::Other("a long number"));
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut value = [fill; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(Node::Int(i64::from_le_bytes(value)))
    }

    fn string(&mut self, opcode: u8) -> Step {
        let at = self.at;
        let length = match opcode {
            b'S' => {
                let content = Content::Unescaped(unquote(self.line()?, at)?);
                return self.push(Node::Bytes(content));
            }
            b'V' => {
                let content = Content::Unescaped(raw_unicode(self.line()?, at)?.into_bytes());
                return self.push(Node::Text(content));
            }
            b'U' | b'C' | 0x8c => usize::from(self.byte()?),
            b'T' | b'B' | b'X' => self.length(4)?,
            _ => self.length(8)?,
        };
        let content = Content::Range(self.take(length)?);
        match opcode {
            b'X' | 0x8c | 0x8d => self.push(Node::Text(content)),
            _ => self.push(Node::Bytes(content)),
        }
    }

    fn container(&mut self, opcode: u8) -> Step {
        let node = match opcode {
            b')' => Node::Tuple(Vec::new()),
            b't' => Node::Tuple(self.pop_to_mark()?),
            0x85..=0x87 => Node::Tuple(self.pop_several(usize::from(opcode - 0x84))?),
            b']' => Node::List(Vec::new()),
            b'l' => Node::List(self.pop_to_mark()?),
            b'}' => Node::Dict(Vec::new()),
            b'd' => {
                let items = self.pop_to_mark()?;
                Node::Dict(self.pairs(&items)?)
            }
            0x8f => Node::Other("a set"),
            _ => {
                self.pop_to_mark()?;
                Node::Other("a set")
            }
        };
        self.push(node)
    }

    /// Puts the values on top of the stack into the container below them.
    fn fill(&mut self, opcode: u8) -> Step {
        let items = match opcode {
            b'a' => self.pop_several(1)?,
            b's' => self.pop_several(2)?,
            _ => self.pop_to_mark()?,
        };
        let target = self.peek()?;
        let pairs = if matches!(opcode, b's' | b'u') { self.pairs(&items)? } else { Vec::new() };
        match (&mut self.nodes[target], opcode) {
            (Node::List(list), b'a' | b'e') => list.extend(items),
            (Node::Dict(entries) | Node::Object { items: entries, .. }, b's' | b'u') => entries.extend(pairs),
            // How other objects use their items does not matter here.
            (Node::Object { .. }, b'a' | b'e' | 0x90) | (Node::Other(_), 0x90) => {}
            _ => return Err(self.malformed("items for a value that cannot have any")),
        }
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Step {
        let at = self.at;
        let key = match opcode {
            b'p' | b'g' => {
                let number = integer(self.line()?, at)?.and_then(|number| u64::try_from(number).ok());
                number.ok_or(PickleError::Malformed { at, problem: "a memo that is not a number" })?
            }
            b'q' | b'h' => u64::from(self.byte()?),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => self.memo.len() as u64,
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let id = self.memo.get(&key).copied();
            self.stack.push(id.ok_or_else(|| self.malformed("a memo that was never written"))?);
        } else {
            if self.memo.len() >= MAX_NODES {
                return Err(PickleError::TooMany { limit: MAX_NODES, what: "memos" });
            }
            let top = self.peek()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Step {
        match opcode {
            b'c' => {
                let node = self.global_lines()?;
                self.push(node)
            }
            0x93 => {
                let [module, name] = self.pop_exactly()?;
                let node = Node::Global { module: self.name(module)?, name: self.name(name)? };
                self.push(node)
            }
            b'R' | 0x81 => {
                let [callable, args] = self.pop_exactly()?;
                self.call(callable, args)
            }
            0x92 => {
                let [callable, args, _keywords] = self.pop_exactly()?;
                self.call(callable, args)
            }
            b'o' | b'i' => {
                let callable = if opcode == b'i' { Some(self.global_lines()?) } else { None };
                let mut args = self.pop_to_mark()?;
                let callable = match callable {
                    Some(global) => self.add(global)?,
                    None if args.is_empty() => return Err(self.malformed("an object without a class")),
                    None => args.remove(0),
                };
                let args = self.add(Node::Tuple(args))?;
                self.call(callable, args)
            }
            _ => {
                let state = self.pop()?;
                let target = self.peek()?;
                match &mut self.nodes[target] {
                    Node::Object { state: slot @ None, .. } => *slot = Some(state),
                    _ => return Err(self.malformed("a state for a value that cannot have one")),
                }
                Ok(())
            }
        }
    }

    fn call(&mut self, callable: Id, args: Id) -> Step {
        self.push(Node::Object { callable, args, state: None, items: Vec::new() })
    }

    fn global_lines(&mut self) -> Step<Node> {
        let mut name = || self.line().map(|line| String::from_utf8_lossy(line).into_owned());
        Ok(Node::Global { module: name()?, name: name()? })
    }

    fn name(&self, id: Id) -> Step<String> {
        match &self.nodes[id] {
            Node::Text(Content::Range(range)) if range.len() <= MAX_NAME => {
                Ok(String::from_utf8_lossy(&self.input[range.clone()]).into_owned())
            }
            _ => Err(self.malformed("a global without a name")),
        }
    }

    fn pairs(&self, items: &[Id]) -> Step<Vec<[Id; 2]>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() { Ok(pairs.to_vec()) } else { Err(self.malformed("a key without a value")) }
    }

    fn add(&mut self, node: Node) -> Step<Id> {
        if self.nodes.len() >= MAX_NODES {
            return Err(PickleError::TooMany { limit: MAX_NODES, what: "values" });
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn push(&mut self, node: Node) -> Step {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn peek(&self) -> Step<Id> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor()).copied();
        top.ok_or_else(|| self.malformed("a value that was never written"))
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.peek()?;
        self.stack.pop();
        Ok(top)
    }

    /// Python's POP also removes a mark that is on top.
    fn discard(&mut self) -> Step {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_several(&mut self, count: usize) -> Step<Vec<Id>> {
        if self.stack.len() - self.floor() < count {
            return Err(self.malformed("a value that was never written"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_exactly<const N: usize>(&mut self) -> Step<[Id; N]> {
        let items = self.pop_several(N)?;
        items.try_into().map_err(|_| self.malformed("a value that was never written"))
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.malformed("a mark that was never set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn malformed(&self, problem: &'static str) -> PickleError {
        PickleError::Malformed { at: self.at, problem }
    }

    fn take(&mut self, length: usize) -> Step<Range<usize>> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.input.len());
        let end = end.ok_or(PickleError::Truncated { at: self.input.len() })?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn byte(&mut self) -> Step<u8> {
        let range = self.take(1)?;
        Ok(self.input[range.start])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let start = self.take(N)?.start;
        Ok(std::array::from_fn(|index| self.input[start + index]))
    }

    /// A length of `width` little-endian bytes.
    fn length(&mut self, width: usize) -> Step<usize> {
        let range = self.take(width)?;
        let mut value = [0; 8];
        value[..width].copy_from_slice(&self.input[range]);
        usize::try_from(u64::from_le_bytes(value)).map_err(|_| self.malformed("a length that exceeds memory"))
    }

    /// The input up to the next line feed.
    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = &self.input[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or(PickleError::Truncated { at: self.input.len() })?;
        self.at += length + 1;
        Ok(&rest[..length])
    }
}
