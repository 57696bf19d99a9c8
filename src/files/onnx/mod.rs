//! ONNX files: a [`Graph`] of standard operators with its constants, and the file that holds it.
//!
//! The same graph is the same bytes: nothing in a file depends on when or where it was written.

pub mod proto;

use std::path::Path;

use prost::Message;

use super::atomic::write_atomic;
use crate::error::{Error, Result};
pub use proto::Size;
use proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, StringEntry,
    TensorProto, TensorShape, TensorType, TypeProto, ValueInfo,
};

/// The version of ONNX's operators.
pub const OPSET: i64 = 17;
/// The version of the format that came with it.
pub const IR_VERSION: i64 = 8;
/// Protobuf's limit: what is longer cannot be read.
const MAX_BYTES: usize = i32::MAX as usize;

/// The type of a tensor's elements, and ONNX's number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32 = 1,
    /// 32-bit signed integer.
    I32 = 6,
    /// 64-bit signed integer.
    I64 = 7,
    /// Truth value.
    Bool = 9,
}

/// A setting of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A word.
    Word(&'static str),
    /// Whole numbers.
    Ints(&'static [i64]),
}

/// A dimension of any size, the same wherever it has this name.
pub fn any(name: &str) -> Size {
    Size::Any(name.into())
}

/// A dimension of this size.
pub fn fixed(size: usize) -> Size {
    Size::Fixed(size as i64)
}

/// What a model computes. Values are named; each node comes after those whose values it reads.
#[derive(Clone, Debug)]
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    /// A graph without nodes.
    pub fn new(name: &str) -> Self {
        let name = name.into();
        let proto = GraphProto {
            name,
            ..GraphProto::default()
        };
        Graph { proto }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.proto.name
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, element: Element, dims: &[Size]) {
        self.proto.input.push(value(name, element, dims));
    }

    /// Adds an output.
    pub fn output(&mut self, name: &str, element: Element, dims: &[Size]) {
        self.proto.output.push(value(name, element, dims));
    }

    /// Adds a constant of floats `shape`.
    pub fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let bytes = bytemuck::cast_slice(data).to_vec();
        self.constant(name, Element::F32, shape, bytes);
    }

    /// Adds a constant list of whole numbers.
    pub fn list(&mut self, name: &str, numbers: &[i64]) {
        let bytes = bytemuck::cast_slice(numbers).to_vec();
        self.constant(name, Element::I64, &[numbers.len()], bytes);
    }

    /// Adds a constant whole number.
    pub fn number(&mut self, name: &str, number: i64) {
        self.constant(name, Element::I64, &[], number.to_le_bytes().to_vec());
    }

    fn constant(&mut self, name: &str, element: Element, shape: &[usize], raw_data: Vec<u8>) {
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: element as i32,
            name: name.into(),
            raw_data,
        });
    }

    /// Adds a node, which has the name of its first output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        self.proto.node.push(NodeProto {
            input: names(inputs),
            output: names(outputs),
            name: outputs.first().copied().unwrap_or_default().into(),
            op_type: operator.into(),
            attribute: attributes.iter().map(attribute).collect(),
        });
    }

    /// Adds a node that takes an axis of size one away.
    pub fn squeeze(&mut self, x: &str, axis: usize, y: &str) {
        let axis = self.axis(axis);
        self.node("Squeeze", &[x, &axis], &[y], &[]);
    }

    /// Adds a node that puts an axis of size one in.
    pub fn unsqueeze(&mut self, x: &str, axis: usize, y: &str) {
        let axis = self.axis(axis);
        self.node("Unsqueeze", &[x, &axis], &[y], &[]);
    }

    /// The name of a constant that names an axis.
    fn axis(&mut self, axis: usize) -> String {
        let name = format!("axis_{axis}");
        if self
            .proto
            .initializer
            .iter()
            .all(|constant| constant.name != name)
        {
            self.list(&name, &[axis as i64]);
        }
        name
    }

    /// Writes the file of this graph, with free strings.
    ///
    /// # Errors
    /// [`Error::Data`] for a model beyond what a file can hold; [`Error::Io`].
    pub fn save(self, path: &Path, metadata: &[(&str, String)]) -> Result<()> {
        let entry = |(key, value): &(&str, String)| StringEntry {
            key: (*key).into(),
            value: value.clone(),
        };
        let file = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "rnnx".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
            opset_import: vec![OperatorSetId {
                domain: String::new(),
                version: OPSET,
            }],
            metadata_props: metadata.iter().map(entry).collect(),
        };
        if file.encoded_len() > MAX_BYTES {
            return Err(Error::Data(format!(
                "{}: the model has {} bytes, more than the {MAX_BYTES} of an ONNX file; export it \
                 with --format torch",
                path.display(),
                file.encoded_len()
            )));
        }
        write_atomic(path, |w| w.write_all(&file.encode_to_vec()))
    }
}

fn attribute((name, attribute): &(&str, Attribute)) -> AttributeProto {
    let mut proto = AttributeProto {
        name: (*name).into(),
        ..AttributeProto::default()
    };
    proto.r#type = match *attribute {
        Attribute::Int(i) => {
            proto.i = Some(i);
            2
        }
        Attribute::Word(word) => {
            proto.s = Some(word.into());
            3
        }
        Attribute::Ints(ints) => {
            proto.ints = ints.into();
            7
        }
    };
    proto
}

fn value(name: &str, element: Element, dims: &[Size]) -> ValueInfo {
    let dim = |size: &Size| Dimension {
        size: Some(size.clone()),
    };
    let shape = TensorShape {
        dim: dims.iter().map(dim).collect(),
    };
    let tensor_type = TensorType {
        elem_type: element as i32,
        shape: Some(shape),
    };
    ValueInfo {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}
