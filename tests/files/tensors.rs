//! The safetensors format: round trips, conversions, and one corrupt file per fault.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use rnnx::Error;
use rnnx::files::{Dtype, Header, HostTensor, TensorFile};

use crate::{checkpoint_message, names, small};

/// A file by hand: the length of `header`, `header`, `data`.
fn by_hand(path: &Path, header: &[u8], data: &[u8]) {
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length, header, data].concat()).unwrap();
}

/// A mixed file: a matrix with special values, a scalar, an empty tensor, metadata.
fn mixed() -> TensorFile {
    let mut file = TensorFile::new();
    // Quiet and signalling NaN with payloads, -0, infinities, the smallest subnormal.
    let bits = [
        0x7fc1_2345_u32,
        0xff80_0001,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        1,
    ];
    let mut insert = |name: &str, shape: &[usize], data: Vec<f32>| {
        let shape = shape.to_vec();
        file.tensors.insert(name.into(), HostTensor { shape, data });
    };
    insert("b.weight", &[2, 3], bits.map(f32::from_bits).to_vec());
    insert("a.scalar", &[], vec![0.1]);
    insert("c.empty", &[0, 4], vec![]);
    insert("é \"quoted\"", &[1], vec![-1.5]);
    file.metadata.insert("kind".into(), "char\nlm".into());
    file
}

fn bits(file: &TensorFile) -> Vec<(&str, &[usize], Vec<u32>)> {
    let tensors = file.tensors.iter();
    tensors
        .map(|(n, t)| {
            let bits = t.data.iter().map(|v| v.to_bits()).collect();
            (n.as_str(), t.shape.as_slice(), bits)
        })
        .collect()
}

#[test]
fn round_trip_keeps_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let file = mixed();
    file.save(&path).unwrap();
    let back = TensorFile::load(&path).unwrap();
    assert_eq!(bits(&back), bits(&file));
    assert_eq!(back.metadata, file.metadata);
    // What was loaded is saved as the same bytes.
    let first = fs::read(&path).unwrap();
    back.save(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(names(dir.path()), ["m.safetensors"]);
}

#[test]
fn the_layout_is_the_reference_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    small([1.0, -2.0]).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    // The hash is that of the 8 data bytes 00 00 80 3f 00 00 00 c0 (sha256sum).
    let header = concat!(
        r#"{"__metadata__":{"header_sha256":"HEADER_HASH","sha256":"#,
        r#""DATA_HASH"},"#,
        r#""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#
    );
    let header = header.replace("DATA_HASH", DATA_HASH);
    let header = header.replace("HEADER_HASH", HEADER_HASH);
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    assert_eq!(bytes[..8], (padded.len() as u64).to_le_bytes());
    assert_eq!(&bytes[8..bytes.len() - 8], padded.as_bytes());
    assert_eq!(bytes[bytes.len() - 8..], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
}

/// `printf '\x00\x00\x80\x3f\x00\x00\x00\xc0' | sha256sum`
const DATA_HASH: &str = "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b";

/// `printf '[[["w","F32",[2],[0,8]]],[]]' | sha256sum`: names, types, shapes, places; other metadata
const HEADER_HASH: &str = "8b446536afdc429be4ccae1f7c7940f05b2f23d9a676515270eb5418267b9af7";

#[test]
fn a_tensor_that_has_another_name_does_not_match_the_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    small([1.0, -2.0]).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(3)
        .position(|three| three == b"\"w\"")
        .unwrap()
        + 1;
    bytes[at] = b'v';
    fs::write(&path, bytes).unwrap();
    let text = checkpoint_message(TensorFile::load(&path), &path);
    assert!(text.contains("header does not match its SHA-256"), "{text}");
}

#[test]
fn other_float_types_become_f32() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    // 20,000 values: more than one chunk of the conversion.
    let values: Vec<f32> = (0..20_000).map(|i| (i as f32 - 9_000.0) * 0.37).collect();
    let n = values.len();
    let half: Vec<u8> = values
        .iter()
        .flat_map(|&v| f16::from_f32(v).to_le_bytes())
        .collect();
    let brain: Vec<u8> = values
        .iter()
        .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
        .collect();
    let double: Vec<u8> = values
        .iter()
        .flat_map(|&v| (f64::from(v) * 1.1).to_le_bytes())
        .collect();
    let header = format!(
        r#"{{"d":{{"dtype":"F64","shape":[{n}],"data_offsets":[{},{}]}},"h":{{"dtype":"F16","shape":[100,200],"data_offsets":[0,{}]}},"b":{{"dtype":"BF16","shape":[{n}],"data_offsets":[{},{}]}}}}"#,
        4 * n,
        12 * n,
        2 * n,
        2 * n,
        4 * n
    );
    by_hand(&path, header.as_bytes(), &[half, brain, double].concat());
    let file = TensorFile::load(&path).unwrap();
    let expected: [(&str, Vec<f32>); 3] = [
        (
            "h",
            values.iter().map(|&v| f16::from_f32(v).to_f32()).collect(),
        ),
        (
            "b",
            values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
        ),
        (
            "d",
            values
                .iter()
                .map(|&v| (f64::from(v) * 1.1) as f32)
                .collect(),
        ),
    ];
    for (name, values) in &expected {
        assert_eq!(&file.tensors[*name].data, values, "{name}");
    }
    assert_eq!(file.tensors["h"].shape, [100, 200]);
    let header = Header::load(&path).unwrap();
    let types: Vec<_> = header
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.dtype))
        .collect();
    assert_eq!(
        types,
        [("h", Dtype::F16), ("b", Dtype::BF16), ("d", Dtype::F64)]
    );
    assert!(!header.has_checksum());
}

#[test]
fn every_fault_of_a_header_is_named() {
    let w = r#""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    // The header, the bytes of data after it, and what the message must say.
    let cases: Vec<(String, usize, &[&str])> = vec![
        ("{\"w\"".into(), 0, &["not a JSON object"]),
        ("[1,2]".into(), 0, &["not a JSON object"]),
        (r#"{"w":3}"#.into(), 0, &["`w`", "header entry is not valid"]),
        (r#"{"w":{"dtype":"F32","shape":[2]}}"#.into(), 8, &["`w`", "data_offsets"]),
        (r#"{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#.into(), 8, &["`w`", "-2"]),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}"#.into(), 8, &["`w`"]),
        (r#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#.into(), 8, &["`w`", "`I64`", "F32, F16, BF16 and F64"]),
        (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#.into(), 8, &["`w`", "[3]", "0..8"]),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#.into(), 8, &["`w`", "8..0"]),
        (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#.into(), 8, &["`w`", "does not fill"]),
        (r#"{"w":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}"#.into(), 16, &["`w`", "does not fill"]),
        (r#"{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#.into(), 8, &["`w`"]),
        (r#"{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#.into(), 8, &["`w`", "4000000000000", "8 bytes", "truncated"]),
        (format!("{{{w}}}"), 7, &["`w`", "byte 8", "7 bytes", "truncated"]),
        (format!("{{{w}}}"), 9, &["end at byte 8", "9 bytes"]),
        (format!(r#"{{{w},"x":{{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}}}"#), 12, &["`x`", "overlap"]),
        (format!(r#"{{{w},"x":{{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}}}"#), 20, &["`x`", "hole"]),
        (r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(), 8, &["`w`", "hole"]),
        (format!(r#"{{"__metadata__":{{"a":1}},{w}}}"#), 8, &["__metadata__", "strings"]),
        (format!(r#"{{"__metadata__":7,{w}}}"#), 8, &["__metadata__"]),
        ("[".repeat(100_000), 0, &["not a JSON object"]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    for (header, data, expected) in cases {
        by_hand(&path, header.as_bytes(), &vec![0; data]);
        let text = checkpoint_message(TensorFile::load(&path), &path);
        let shown = &header[..header.len().min(80)];
        for part in expected {
            assert!(text.contains(part), "{shown}: `{part}` is not in: {text}");
        }
    }
    by_hand(&path, b"{\"\xff\":1}", b"");
    let text = checkpoint_message(TensorFile::load(&path), &path);
    assert!(text.contains("not UTF-8"), "{text}");
}

#[test]
fn an_absurd_length_and_things_that_are_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    for length in [u64::MAX, 1 << 40, 100_000_001, 3] {
        fs::write(&path, [&length.to_le_bytes()[..], b"{}"].concat()).unwrap();
        let text = checkpoint_message(TensorFile::load(&path), &path);
        assert!(
            text.contains(&format!("header of {length} bytes")),
            "{text}"
        );
    }
    // A length over the limit is refused although the (sparse) file is long enough.
    fs::write(&path, 150_000_000_u64.to_le_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(200_000_000).unwrap();
    let text = checkpoint_message(TensorFile::load(&path), &path);
    assert!(text.contains("at most 100000000 are taken"), "{text}");

    let text = checkpoint_message(TensorFile::load(dir.path()), dir.path());
    assert!(text.contains("not a file"), "{text}");
    let missing = dir.path().join("missing");
    let text = checkpoint_message(TensorFile::load(&missing), &missing);
    assert!(text.contains("no such file"), "{text}");
}

#[test]
fn every_truncation_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    mixed().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        checkpoint_message(TensorFile::load(&path), &path);
    }
}

#[test]
fn every_flipped_byte_is_survived_and_one_in_the_data_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    mixed().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let data = whole.len() - 4 * 8;
    for at in 0..whole.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fs::write(&path, &bytes).unwrap();
            let result = TensorFile::load(&path);
            if at >= data {
                let text = checkpoint_message(result, &path);
                assert!(text.contains("do not match their SHA-256"), "{text}");
                assert!(text.contains("other checkpoint"), "{text}");
            } else if let Err(error) = result {
                assert_eq!(error.exit_code(), 3, "byte {at}: {error:?}");
            }
        }
    }
}

#[test]
fn get_and_expect_only_name_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    small([1.0, 2.0]).save(&path).unwrap();
    let file = TensorFile::load(&path).unwrap();
    assert_eq!(file.get("w", &[2]).unwrap().data, [1.0, 2.0]);
    let text = checkpoint_message(file.get("lstm.x", &[2]), &path);
    assert!(
        text.contains("`lstm.x` is missing") && text.contains("holds `w`"),
        "{text}"
    );
    let text = checkpoint_message(file.get("w", &[1, 2]), &path);
    assert!(
        text.contains("`w` has the shape [2]") && text.contains("[1, 2]"),
        "{text}"
    );
    file.expect_only(&["w", "v"]).unwrap();
    let text = checkpoint_message(file.expect_only(&["v"]), &path);
    assert!(text.contains("does not have: `w`"), "{text}");
}

#[test]
fn many_names_are_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let mut file = TensorFile::new();
    for i in 0..25 {
        let tensor = HostTensor {
            shape: vec![0],
            data: vec![],
        };
        file.tensors.insert(format!("t{i:02}"), tensor);
    }
    file.save(&path).unwrap();
    let file = TensorFile::load(&path).unwrap();
    let text = checkpoint_message(file.get("x", &[]), &path);
    assert!(
        text.contains("`t19` and 5 more") && !text.contains("`t20`"),
        "{text}"
    );
}

#[test]
fn a_tensor_whose_shape_and_data_disagree_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let mut wrong = small([1.0, 2.0]);
    wrong.tensors.get_mut("w").unwrap().shape = vec![3];
    let mut reserved = TensorFile::new();
    let tensor = HostTensor {
        shape: vec![0],
        data: vec![],
    };
    reserved.tensors.insert("__metadata__".into(), tensor);
    for (file, name) in [(wrong, "`w`"), (reserved, "`__metadata__`")] {
        let error = file.save(&path).unwrap_err();
        assert!(matches!(&error, Error::Op { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(names(dir.path()).is_empty());
}
