//! Models of Keras: the archive, and the HDF5 file in it.

use std::io::{Cursor, Read, Write};

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::read::GzDecoder;
use rnnx::programs::charlm::keras::{KerasModel, read};
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::{Slot, accepted, fuzz};

const WEIGHTS: &str = "model.weights.h5";

/// What Keras saved: an archive, and its members.
fn saved() -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let golden = include_str!("../golden/keras_lm.json");
    let golden: Value = serde_json::from_str(golden).expect("a golden");
    let packed = golden["models"]["sequential"]["file"].as_str();
    let packed = BASE64_STANDARD.decode(packed.expect("a file"));
    let mut file = Vec::new();
    let mut unpacked = GzDecoder::new(Cursor::new(packed.expect("base64")));
    unpacked.read_to_end(&mut file).expect("gzip");
    let mut zip = ZipArchive::new(Cursor::new(&file)).expect("an archive");
    let members = (0..zip.len()).map(|index| {
        let mut member = zip.by_index(index).expect("a member");
        let name = member.name().expect("a name").into_owned();
        let mut content = Vec::new();
        member.read_to_end(&mut content).expect("its content");
        (name, content)
    });
    let members = members.collect();
    (file, members)
}

/// Whatever is accepted is the model that `config.json` describes.
fn check(model: &KerasModel) {
    let tensors = &model.weights.tensors;
    for tensor in tensors.values() {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
    }
    let [vocab, dim] = tensors["embedding.weight"].shape[..] else {
        panic!("a matrix");
    };
    let hidden = tensors["lstm.weight_hh_l0"].shape[1];
    assert_eq!(tensors["lstm.weight_ih_l0"].shape, [4 * hidden, dim]);
    assert_eq!(tensors["out.weight"].shape, [vocab, hidden]);
}

#[test]
fn keras_files() {
    let slot = Slot::new("model.keras");
    let (file, _) = saved();
    fuzz(".keras", &[&file], |bytes| {
        accepted(read(&slot.put(bytes))).iter().for_each(check);
    });
}

/// An archive has checksums, so what is damaged in it is packed anew.
#[test]
fn keras_members() {
    let slot = Slot::new("model.keras");
    let (_, members) = saved();
    for name in [WEIGHTS, "config.json"] {
        let (_, valid) = members.iter().find(|(n, _)| n == name).expect("a member");
        fuzz(name, &[valid], |bytes| {
            let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
            for (other, content) in &members {
                let content = if other == name { bytes } else { content };
                zip.start_file(other, SimpleFileOptions::default())
                    .expect("a member");
                zip.write_all(content).expect("its content");
            }
            let file = zip.finish().expect("a list").into_inner();
            let Some(model) = accepted(read(&slot.put(&file))) else {
                return;
            };
            check(&model);
            // Of the same sizes where the description is the same.
            let shape = &model.weights.tensors["embedding.weight"].shape;
            assert!(name != WEIGHTS || *shape == [5, 3], "{shape:?}");
        });
    }
}
