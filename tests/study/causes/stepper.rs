//! The stepper against the model's forward pass, and what it does to a network that is held.

use rnnx::autograd::Tape;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::sample;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::programs::charlm::study::causes::network::{Lane, Network, Part, Unit};
use rnnx::programs::charlm::study::causes::stepper::Stepper;
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;

/// f32 sums of some tens of products in another order: 2e-6 at most, five times that.
const TOLERANCE: f64 = 1e-5;
const STEPS: usize = 40;

fn model(cell: CellKind, layers: usize) -> CharLm {
    let sizes = CharLmSizes {
        cell,
        vocab: 11,
        embedding: 6,
        // Neither a multiple of the columns added together nor of a register.
        hidden: 18 + layers,
        layers,
        tied: false,
    };
    let mut model = CharLm::new::<f32>(sizes, 5);
    // Initial biases are zero: a bias that is left out would not show.
    let mut random = Stream::new(9, Purpose::Init, 0).reader();
    let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
    for value in values {
        *value += 0.3 * (2.0 * random.uniform() - 1.0) as f32;
    }
    model
}

fn stepper(model: &CharLm) -> Stepper {
    Stepper::new(&sample::weights(&model.export().unwrap(), false).unwrap())
}

fn ids() -> Vec<u32> {
    let mut random = Stream::new(4, Purpose::Sample, 0).reader();
    (0..STEPS).map(|_| random.below(11)).collect()
}

fn log_p(network: &Stepper, lane: &Lane) -> Vec<f64> {
    let mut log_p = vec![0.0; network.shape().vocab];
    network.log_p(&lane.state, &mut log_p);
    log_p
}

#[test]
fn log_probabilities_are_those_of_the_model() {
    for cell in CellKind::ALL {
        for layers in [1, 2, 3] {
            let (model, ids) = (model(cell, layers), ids());
            let mut tape = Tape::inference();
            let params = model.params().bind(&mut tape);
            let input = Tensor::from_slice(&ids, [STEPS, 1]).unwrap();
            let (logits, state) = model
                .forward(&mut tape, &params, &input, None, None)
                .unwrap();
            let logits = logits.value().data::<f32>().unwrap().to_vec();
            let network = stepper(&model);
            let mut lane = network.begin();
            for (t, id) in ids.iter().enumerate() {
                network.read_all(&mut lane, &[*id]);
                let expected = &logits[t * 11..][..11];
                let total: f64 = expected.iter().map(|x| f64::from(*x).exp()).sum();
                for (got, logit) in log_p(&network, &lane).iter().zip(expected) {
                    let error = (got - f64::from(*logit) + total.ln()).abs();
                    assert!(
                        error < TOLERANCE,
                        "{cell} {layers} layers, step {t}: {error}"
                    );
                }
            }
            assert_eq!(state.len(), layers);
        }
    }
}

#[test]
fn a_lane_does_not_depend_on_its_neighbours() {
    for cell in CellKind::ALL {
        let (network, ids) = (stepper(&model(cell, 2)), ids());
        let mut alone = network.begin();
        network.read_all(&mut alone, &ids);
        let mut lanes = vec![network.begin(); 5];
        for (t, id) in ids.iter().enumerate() {
            let beside = ids[(t + 7) % STEPS];
            network.read(&mut lanes, &[beside, 1, *id, beside, 3]);
        }
        assert_eq!(lanes[2].state, alone.state, "{cell}");
        assert_ne!(lanes[0].state, alone.state, "{cell}");
    }
}

#[test]
fn a_copied_state_goes_on_as_the_original() {
    let (network, ids) = (stepper(&model(CellKind::Lstm, 2)), ids());
    let mut whole = network.begin();
    network.read_all(&mut whole, &ids);
    let mut first = network.begin();
    network.read_all(&mut first, &ids[..20]);
    let mut second = Lane::new(first.state.clone());
    network.read_all(&mut second, &ids[20..]);
    assert_eq!(second.state, whole.state);
}

#[test]
fn values_stand_in_the_order_of_units() {
    for cell in CellKind::ALL {
        let (network, ids) = (stepper(&model(cell, 2)), ids());
        let mut lane = network.begin();
        network.read_all(&mut lane, &ids);
        let units: Vec<Unit> = network.shape().units().collect();
        let values: Vec<f32> = lane.state.values().collect();
        assert_eq!(units.len(), values.len());
        assert_eq!(units.len(), 2 * 20 * if cell.has_c() { 2 } else { 1 });
        for (unit, value) in units.into_iter().zip(values) {
            assert_eq!(lane.state.get(unit), value, "{unit:?}");
        }
    }
}

/// h = o tanh(c), c = f c + i g: the gates are those that made the state.
#[test]
fn gates_are_those_of_the_step() {
    let (network, ids) = (stepper(&model(CellKind::Lstm, 1)), ids());
    let mut lane = network.begin();
    network.read_all(&mut lane, &ids[..9]);
    let before = lane.state.c.clone();
    network.read_all(&mut lane, &ids[9..10]);
    let h = network.shape().hidden;
    let gates: Vec<&[f32]> = lane.state.gates.chunks(h).collect();
    for u in 0..h {
        let c = gates[1][u] * before[u] + gates[0][u] * gates[2][u];
        assert_eq!(lane.state.c[u], c);
        assert_eq!(lane.state.h[u], gates[3][u] * c.tanh());
    }
}

#[test]
fn a_held_unit_has_its_value_and_the_layers_above_see_it() {
    for cell in CellKind::ALL {
        let (network, ids) = (stepper(&model(cell, 2)), ids());
        let mut free = network.begin();
        network.read_all(&mut free, &ids);
        for &part in Part::of(cell) {
            let unit = Unit {
                layer: 0,
                part,
                unit: 4,
            };
            let mut lane = network.begin();
            lane.held = vec![(unit, 0.75)];
            network.read_all(&mut lane, &ids[..1]);
            assert_eq!(lane.state.get(unit), 0.75);
            // After one character only what is computed from the unit differs.
            let mut first = network.begin();
            network.read_all(&mut first, &ids[..1]);
            let below = |lane: &Lane| {
                let mut h = lane.state.h[..20].to_vec();
                h.remove(4);
                h
            };
            assert_eq!(below(&lane), below(&first), "{cell} {part:?}");
            assert_ne!(lane.state.h[4], first.state.h[4]);
            assert_ne!(lane.state.h[20..], first.state.h[20..], "{cell} {part:?}");
            network.read_all(&mut lane, &ids[1..]);
            assert_eq!(lane.state.get(unit), 0.75);
            assert_ne!(log_p(&network, &lane), log_p(&network, &free));
        }
        // Held at what it is anyway, nothing changes.
        let unit = Unit {
            layer: 1,
            part: Part::H,
            unit: 0,
        };
        let mut before = network.begin();
        network.read_all(&mut before, &ids[..STEPS - 1]);
        before.held = vec![(unit, free.state.get(unit))];
        network.read_all(&mut before, &ids[STEPS - 1..]);
        assert_eq!(before.state, free.state, "{cell}");
    }
}
