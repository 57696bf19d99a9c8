//! Safetensors files.

use rnnx::cli::inspect;
use rnnx::files::{Header, HostTensor, TensorFile};

use super::{Slot, accepted, fuzz};

/// A file of two tensors with a checksum, and one that another program wrote without.
fn valid(slot: &Slot) -> [Vec<u8>; 2] {
    let mut file = TensorFile::new();
    for (name, shape) in [("out.bias", vec![3]), ("out.weight", vec![2, 3])] {
        let data = (0..shape.iter().product())
            .map(|i| i as f32 / 4.0)
            .collect();
        file.tensors.insert(name.into(), HostTensor { shape, data });
    }
    file.metadata.insert("format".into(), "pt".into());
    file.save(&slot.path()).expect("a file");
    let ours = std::fs::read(slot.path()).expect("the file");
    let header = br#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"d":{"dtype":"F64","shape":[1,1],"data_offsets":[4,12]},"e":{"dtype":"BF16","shape":[0,9],"data_offsets":[12,12]}}  "#;
    let length = (header.len() as u64).to_le_bytes();
    let foreign = [&length[..], header, &[0x3c; 12]].concat();
    [ours, foreign]
}

fn bits(file: &TensorFile) -> Vec<(&String, &Vec<usize>, Vec<u32>)> {
    let tensors = file.tensors.iter();
    let bits = |t: &HostTensor| t.data.iter().map(|x| x.to_bits()).collect();
    tensors.map(|(n, t)| (n, &t.shape, bits(t))).collect()
}

#[test]
fn safetensors() {
    let slot = Slot::new("model.safetensors");
    let copy = Slot::new("copy.safetensors");
    let valid = valid(&slot);
    fuzz("safetensors", &valid.each_ref().map(|v| &v[..]), |bytes| {
        let path = slot.put(bytes);
        let header = accepted(Header::load(&path));
        let file = accepted(TensorFile::load(&path));
        let inspected = accepted(inspect::run(&path, true, &mut Vec::new()));
        // With a checksum the data can be at fault where the header is not.
        assert!(header.is_some() || file.is_none());
        let Some(file) = file else { return };
        assert!(inspected.is_some());
        let values: usize = file.tensors.values().map(|t| t.data.len()).sum();
        assert!(
            2 * values <= bytes.len(),
            "{values} values of {} bytes",
            bytes.len()
        );
        let header = header.expect("a header");
        assert_eq!(header.tensors.len(), file.tensors.len());
        if file.tensors.contains_key("__metadata__") {
            return;
        }
        file.save(&copy.path()).expect("the same file");
        let again = TensorFile::load(&copy.path()).expect("what was written");
        assert_eq!(bits(&again), bits(&file));
        assert_eq!(again.metadata, file.metadata);
    });
}

/// Whatever single bit of the data flips, a file of ours is refused.
#[test]
fn a_flipped_bit_of_the_data_is_seen() {
    let slot = Slot::new("model.safetensors");
    let [ours, _] = valid(&slot);
    let data = ours.len() - 9 * 4;
    for bit in 0..8 * (ours.len() - data) {
        let mut bytes = ours.clone();
        bytes[data + bit / 8] ^= 1 << (bit % 8);
        assert!(TensorFile::load(&slot.put(&bytes)).is_err(), "bit {bit}");
    }
}
