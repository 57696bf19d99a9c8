//! Training that stops being a number.

use std::fs;

use rnnx::files::tensors::TensorFile;

use super::support::{EPOCH, Place, state_number};

#[test]
fn a_loss_that_is_not_a_number_ends_the_run() {
    let place = Place::with_run("a", "--max-steps 1 --quiet");
    let mut file = TensorFile::load(&place.path("a/last/model.safetensors")).unwrap();
    file.tensors.get_mut("out.weight").unwrap().data.fill(3e38);
    file.tensors
        .get_mut("lstm.bias_ih_l1")
        .unwrap()
        .data
        .fill(20.0);
    file.save(&place.path("huge.safetensors")).unwrap();
    place
        .train("b", "--init-from huge.safetensors --vocab a/vocab.json")
        .fails(5, &["diverged", "step 1", "no checkpoint", "learning-rate"]);
    assert!(!place.path("b/last").exists());
}

#[test]
fn a_run_that_diverges_keeps_its_last_good_checkpoint() {
    // One unit of the top layer is always near 1, and its weights overflow where dropout keeps
    // it: at 1 - p = 0.01 that is one position in a hundred, so after some steps.
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    let mut file = TensorFile::load(&place.path("a/last/model.safetensors")).unwrap();
    for gate in 0..4 {
        file.tensors.get_mut("lstm.bias_ih_l1").unwrap().data[16 * gate] = 20.0;
    }
    for row in file
        .tensors
        .get_mut("out.weight")
        .unwrap()
        .data
        .chunks_mut(16)
    {
        row[0] = 3e37;
    }
    file.save(&place.path("ill.safetensors")).unwrap();
    let flags = "--init-from ill.safetensors --vocab a/vocab.json --dropout 0.999 --l2 0 \
                 --checkpoint-every 1";
    let done = place.train("b", flags);
    let last = fs::read_link(place.path("b/last")).expect("some steps went well");
    let last = format!("b/{}", last.display());
    let kept = format!("the last good checkpoint is {last}");
    let done = done.fails(5, &["diverged", &kept, "lower"]);
    let good = state_number(&place.path("b"), "step");
    assert!((EPOCH..1000).contains(&good), "{good}");
    place.run(&format!("inspect {last}")).ok();
    // Such weights do not fit in generation's f16, which is no reason to stop training.
    assert!(
        done.stderr.contains("note: no sample of epoch 1:"),
        "{}",
        done.stderr
    );
    let done = place.train("c", &format!("{flags} --max-steps 1")).ok();
    assert!(done.stderr.contains("note: no sample:"), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}
