//! Writes small ONNX files, for tests.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Types of tensors in ONNX's numbering.
pub const SINGLE: u64 = 1;
pub const UINT8: u64 = 2;
pub const INT64: u64 = 7;
pub const HALF: u64 = 10;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field of a protobuf message that is a number.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is a text or a message.
pub fn part(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// The graph of a file in the making.
#[derive(Default)]
pub struct Graph(Vec<u8>);

impl Graph {
    /// Adds an operation; `attributes` as [`attribute`] and [`numbers`] make them.
    pub fn node(mut self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Self {
        let inputs: Vec<u8> = inputs.iter().flat_map(|name| part(1, name)).collect();
        let outputs: Vec<u8> = outputs.iter().flat_map(|name| part(2, name)).collect();
        self.0.extend(part(1, [inputs, outputs, part(4, operator), attributes.concat()].concat()));
        self
    }

    /// Adds weights that lie in the file.
    pub fn tensor(mut self, name: &str, kind: u64, shape: &[u64], data: &[u8]) -> Self {
        self.0.extend(part(5, [tensor(name, kind, shape), part(9, data)].concat()));
        self
    }

    /// Adds weights that lie in another file.
    pub fn external(mut self, name: &str, shape: &[u64], file: &str, offset: usize, length: usize) -> Self {
        let entry = |key: &str, value: &str| part(13, [part(1, key), part(2, value)].concat());
        let place =
            [entry("location", file), entry("offset", &offset.to_string()), entry("length", &length.to_string())];
        self.0.extend(part(5, [tensor(name, SINGLE, shape), place.concat(), number(14, 1)].concat()));
        self
    }

    pub fn input(self, name: &str, kind: u64, shape: &[u64]) -> Self {
        self.value(11, name, kind, shape)
    }

    pub fn output(self, name: &str, kind: u64, shape: &[u64]) -> Self {
        self.value(12, name, kind, shape)
    }

    /// An input whose first side is left open: the batch.
    pub fn open_input(mut self, name: &str, kind: u64, rest: &[u64]) -> Self {
        let batch = part(1, part(2, "batch"));
        let sides: Vec<u8> = rest.iter().flat_map(|side| part(1, number(1, *side))).collect();
        let typed = part(1, [number(1, kind), part(2, [batch, sides].concat())].concat());
        self.0.extend(part(11, [part(1, name), part(2, typed)].concat()));
        self
    }

    /// Says of a value inside that its sides are these expressions.
    pub fn symbolic(mut self, name: &str, shape: &[&str]) -> Self {
        let sides: Vec<u8> = shape.iter().flat_map(|side| part(1, part(2, side))).collect();
        let typed = part(1, [number(1, SINGLE), part(2, sides)].concat());
        self.0.extend(part(13, [part(1, name), part(2, typed)].concat()));
        self
    }

    fn value(mut self, field: u64, name: &str, kind: u64, shape: &[u64]) -> Self {
        let sides: Vec<u8> = shape.iter().flat_map(|side| part(1, number(1, *side))).collect();
        let typed = part(1, [number(1, kind), part(2, sides)].concat());
        self.0.extend(part(field, [part(1, name), part(2, typed)].concat()));
        self
    }

    /// The bytes of the file.
    pub fn file(self) -> Vec<u8> {
        [number(1, 8), part(7, [self.0, part(2, "g")].concat()), part(8, number(2, 13))].concat()
    }
}

fn tensor(name: &str, kind: u64, shape: &[u64]) -> Vec<u8> {
    let sides: Vec<u8> = shape.iter().flat_map(|side| number(1, *side)).collect();
    [sides, number(2, kind), part(8, name)].concat()
}

/// An attribute that is a number.
pub fn attribute(name: &str, value: u64) -> Vec<u8> {
    part(5, [part(1, name), number(3, value), number(20, 2)].concat())
}

/// An attribute that is a list of numbers.
pub fn numbers(name: &str, values: &[u64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value)).collect();
    part(5, [part(1, name), values, number(20, 7)].concat())
}

/// Numbers as tensors hold them.
pub fn singles(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// As sha256sum prints it.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A file that gives the same `values` whatever it sees in its 32x32 pixels: output `out` of this shape.
pub fn constant(shape: &[u64], values: &[f32]) -> Vec<u8> {
    // The picture counts for nothing, but it is there.
    let graph = Graph::default()
        .node("ReduceMean", &["picture"], &["mean"], &[attribute("keepdims", 0)])
        .node("Mul", &["mean", "nothing"], &["dark"], &[])
        .node("Add", &["values", "dark"], &["out"], &[])
        .tensor("nothing", SINGLE, &[], &singles(&[0.0]))
        .tensor("values", SINGLE, shape, &singles(values));
    graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("out", SINGLE, shape).file()
}

/// Writes model `m` into `dir`: the file, and its manifest with these lines and what every manifest has.
pub fn install(dir: &Path, onnx: &[u8], top: &str, head: &str) {
    fs::write(dir.join("m.onnx"), onnx).expect("write");
    let manifest = format!(
        "name = 'm'\nfile = 'm.onnx'\nsha256 = '{}'\nlicence = ''\norigin = ''\n{top}\n\
         [input]\nwidth = 32\nheight = 32\nscale = 0.00390625\n[head]\n{head}\n",
        sha256(onnx)
    );
    fs::write(dir.join("m.toml"), manifest).expect("write");
}
