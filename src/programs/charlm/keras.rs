//! A character LM that Keras 3 has saved as a `.keras` file.
//!
//! Such a file is a zip archive: `config.json` says what the layers are, `model.weights.h5` holds their
//! variables, as `layers/lstm_1/cell/vars/0`, numbered by class and not by the layers' own names.
//! Keras's kernels are `[inputs, outputs]`, the transposed of torch's; the gates of its LSTM are i, f,
//! c, o, which is the order here, and it has one bias.

use crate::data::unpacking::Unpacking;
use crate::error::{Error, Result};
use crate::files::access;
use crate::files::tensors::{HostTensor, TensorFile};
use hdf5_pure::File as Hdf5;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";
/// No description of some layers is larger.
const MAX_CONFIG: u64 = 16 << 20;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct KerasModel {
    /// Its weights under torch's names.
    pub weights: TensorFile,
    /// The largest rate of its dropout layers.
    pub dropout: f64,
}

/// Reads a model of one Embedding, LSTM layers of one size and a Dense layer; Dropout layers between
/// them do nothing here.
///
/// # Errors
/// [`Error::Checkpoint`] for what is not there, no `.keras` file, damaged, or a model of other layers.
pub fn read(path: &Path) -> Result<KerasModel> {
    let fault = |message: String| Error::checkpoint(path, message);
    let file = access::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => fault("no such file".into()),
        _ => Error::io("read", path)(e),
    })?;
    let mut unpacking = Unpacking::default();
    unpacking.open(file.metadata().map_err(Error::io("read", path))?.len());
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| {
        fault(format!(
            "is no whole .keras file, which is a zip archive ({e}): save the model with \
             model.save(\"NAME.keras\") of Keras 3; a model in an .h5 file is loaded and saved so"
        ))
    })?;
    let config = member(&mut zip, CONFIG, MAX_CONFIG).map_err(fault)?;
    let bytes = member(&mut zip, WEIGHTS, unpacking.room()).map_err(fault)?;
    unpacking.take(bytes.len() as u64, path)?;
    let config = serde_json::from_slice(&config)
        .map_err(|e| fault(format!("{CONFIG} is not JSON ({e}): the file is damaged")))?;
    let layers = Layers::parse(&config).map_err(fault)?;
    let size = bytes.len();
    let file = Hdf5::from_bytes(bytes)
        .map_err(|e| fault(format!("{WEIGHTS} is no whole HDF5 file ({e}): damaged")))?;
    let weights = layers.weights(&Variables { file, size }).map_err(fault)?;
    let dropout = layers.dropout;
    Ok(KerasModel { weights, dropout })
}

/// The content of a file in the archive; the error is the message.
fn member(
    zip: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, String> {
    let file = zip.by_name(name).map_err(|e| match e {
        ZipError::FileNotFound => format!(
            "holds no {name}: rnnx reads what model.save(\"NAME.keras\") of Keras 3 writes, in one \
             piece"
        ),
        e => format!("{name}: {e}: the file is damaged"),
    })?;
    let mut content = Vec::new();
    // The size in the archive's list is only a claim.
    let read = file.take(limit + 1).read_to_end(&mut content);
    let read = read.map_err(|e| format!("{name}: {e}: the file is damaged"))?;
    match read as u64 > limit {
        true => Err(format!(
            "{name} holds more than {} MiB, and no more is read",
            limit >> 20
        )),
        false => Ok(content),
    }
}

// ---- layers --------------------------------------------------------------------------------

/// The layers that have weights: where their variables are, and their sizes.
struct Layers {
    embedding: (String, usize, usize), // V, E
    lstms: Vec<String>,
    hidden: usize,
    dense: String,
    dropout: f64,
}

impl Layers {
    /// Reads `config.json`; the error is the message.
    fn parse(config: &Value) -> Result<Self, String> {
        let class = &config["class_name"];
        let layers = config["config"]["layers"].as_array();
        let (true, Some(layers)) = (class == "Sequential" || class == "Functional", layers) else {
            return Err(format!(
                "is a model of the class {class}; rnnx imports Sequential and Functional ones"
            ));
        };
        let (mut embedding, mut lstms, mut dense) = (None, Vec::new(), None);
        let (mut hidden, mut dropout) = (0, 0.0f64);
        let mut classes = HashMap::new();
        for layer in layers {
            let layer = Layer::new(layer, &mut classes)?;
            match layer.class {
                "InputLayer" => {}
                "Dropout" | "SpatialDropout1D" => {
                    dropout = dropout.max(layer.config["rate"].as_f64().unwrap_or(0.0));
                }
                "Embedding" if embedding.is_none() && lstms.is_empty() => {
                    layer.has("mask_zero", &[false.into()])?;
                    let sizes = (layer.size("input_dim")?, layer.size("output_dim")?);
                    embedding = Some((layer.variables("vars"), sizes.0, sizes.1));
                }
                "LSTM" if embedding.is_some() && dense.is_none() => {
                    layer.is_standard_lstm()?;
                    let units = layer.size("units")?;
                    if !lstms.is_empty() && units != hidden {
                        return Err(format!(
                            "its LSTM layers have {hidden} and {units} units; rnnx has layers of one \
                             size"
                        ));
                    }
                    hidden = units;
                    lstms.push(layer.variables("cell/vars"));
                }
                "Dense" if !lstms.is_empty() && dense.is_none() => {
                    // Probabilities are those of the logits before the softmax.
                    layer.has("activation", &["linear".into(), "softmax".into()])?;
                    layer.has("use_bias", &[true.into()])?;
                    dense = Some((layer.variables("vars"), layer.size("units")?));
                }
                _ => return Err(layer.foreign()),
            }
        }
        let (Some(embedding), Some((dense, units))) = (embedding, dense) else {
            return Err(format!("lacks layers: {ORDER}"));
        };
        if units != embedding.1 {
            return Err(format!(
                "its Dense layer has {units} units for the {} characters of its Embedding",
                embedding.1
            ));
        }
        Ok(Layers {
            embedding,
            lstms,
            hidden,
            dense,
            dropout,
        })
    }

    /// The weights under torch's names; the error is the message.
    fn weights(&self, file: &Variables) -> Result<TensorFile, String> {
        let (embedding, vocab, dim) = &self.embedding;
        let (vocab, dim, hidden) = (*vocab, *dim, self.hidden);
        let rows = hidden.checked_mul(4).ok_or("its layers are too large")?;
        let mut tensors = TensorFile::new();
        let mut put = |name: String, shape: &[usize], data| {
            let shape = shape.to_vec();
            tensors.tensors.insert(name, HostTensor { shape, data });
        };
        let table = file.read(embedding, 0, &[vocab, dim])?;
        put("embedding.weight".into(), &[vocab, dim], table);
        for (k, lstm) in self.lstms.iter().enumerate() {
            let inputs = if k == 0 { dim } else { hidden };
            let kernels = [("ih", 0, inputs), ("hh", 1, hidden)];
            for (side, number, columns) in kernels {
                let kernel = file.read(lstm, number, &[columns, rows])?;
                let shape = [rows, columns];
                put(
                    format!("lstm.weight_{side}_l{k}"),
                    &shape,
                    transposed(&kernel, shape),
                );
            }
            let bias = file.read(lstm, 2, &[rows])?;
            put(format!("lstm.bias_ih_l{k}"), &[rows], bias);
            put(format!("lstm.bias_hh_l{k}"), &[rows], vec![0.0; rows]);
        }
        let kernel = file.read(&self.dense, 0, &[hidden, vocab])?;
        let shape = [vocab, hidden];
        put("out.weight".into(), &shape, transposed(&kernel, shape));
        put(
            "out.bias".into(),
            &[vocab],
            file.read(&self.dense, 1, &[vocab])?,
        );
        Ok(tensors)
    }
}

/// What a model has to be.
const ORDER: &str = "rnnx imports Embedding, then LSTM layers of one size with return_sequences=True, \
                     then Dense, with Dropout in between";

/// A layer as `config.json` has it.
struct Layer<'a> {
    class: &'a str,
    /// Its group in the file of weights.
    group: String,
    config: &'a Value,
}

impl<'a> Layer<'a> {
    /// `classes` counts the layers of each class so far.
    fn new(layer: &'a Value, classes: &mut HashMap<&'a str, usize>) -> Result<Self, String> {
        let class = layer["class_name"].as_str();
        let class = class.ok_or(format!("{CONFIG} has a layer without class_name: damaged"))?;
        let count = classes.entry(class).or_default();
        let name = class.to_lowercase();
        let group = match *count {
            0 => format!("layers/{name}"),
            n => format!("layers/{name}_{n}"),
        };
        *count += 1;
        let config = &layer["config"];
        Ok(Layer {
            class,
            group,
            config,
        })
    }

    fn name(&self) -> &Value {
        &self.config["name"]
    }

    fn variables(&self, below: &str) -> String {
        format!("{}/{below}", self.group)
    }

    fn foreign(&self) -> String {
        format!(
            "has the layer {} ({}) where {ORDER}",
            self.name(),
            self.class
        )
    }

    fn size(&self, key: &str) -> Result<usize, String> {
        let size = self.config[key].as_u64().and_then(|n| n.try_into().ok());
        size.filter(|n| *n > 0)
            .ok_or_else(|| format!("its layer {} has {key} = {}", self.name(), self.config[key]))
    }

    /// Checks that a setting has one of these values.
    fn has(&self, key: &str, values: &[Value]) -> Result<(), String> {
        let value = &self.config[key];
        if values.contains(value) {
            return Ok(());
        }
        let wanted: Vec<String> = values.iter().map(Value::to_string).collect();
        Err(format!(
            "its layer {} ({}) has {key} = {value}; rnnx computes {}",
            self.name(),
            self.class,
            wanted.join(" or ")
        ))
    }

    fn is_standard_lstm(&self) -> Result<(), String> {
        let standard = [
            ("activation", "tanh".into()),
            ("recurrent_activation", "sigmoid".into()),
            ("use_bias", true.into()),
            ("go_backwards", false.into()),
            ("return_sequences", true.into()),
            ("return_state", false.into()),
        ];
        let mut standard = standard.into_iter();
        standard.try_for_each(|(key, value)| self.has(key, &[value]))
    }
}

// ---- variables -----------------------------------------------------------------------------

/// The file of weights, and how many bytes it has.
struct Variables {
    file: Hdf5,
    size: usize,
}

impl Variables {
    /// A variable of a layer, which has this shape; the error is the message.
    fn read(&self, group: &str, number: usize, shape: &[usize]) -> Result<Vec<f32>, String> {
        let name = format!("{WEIGHTS}: {group}/{number}");
        let damaged = |e: hdf5_pure::Error| format!("{name}: {e}: damaged, or of another Keras");
        let dataset = self.file.dataset(&format!("{group}/{number}"));
        let dataset = dataset.map_err(damaged)?;
        let found = dataset.shape().map_err(damaged)?;
        if !found.iter().copied().eq(shape.iter().map(|&d| d as u64)) {
            return Err(format!(
                "{name} has the shape {found:?}, but {CONFIG} says {shape:?}"
            ));
        }
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        // What is not in the file would be filled in.
        let count = count.filter(|&n| n <= self.size / 2);
        let count = count.ok_or_else(|| format!("{name} of shape {shape:?} is not all there"))?;
        let data = dataset.read_f32().map_err(damaged)?;
        match data.len() == count {
            true => Ok(data),
            false => Err(format!(
                "{name} has {} values for its shape {shape:?}",
                data.len()
            )),
        }
    }
}

/// A kernel `[columns, rows]` as `[rows, columns]`.
fn transposed(kernel: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let entry = |at: usize| kernel[at % columns * rows + at / columns];
    (0..rows * columns).map(entry).collect()
}
