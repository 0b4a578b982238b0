//! Writing keys and values to where attention reads them.

use crate::attention::{BLOCK, Heads, Rows};

/// Puts the newest token of some completions behind their own tokens: keys and values `[m, k * d]` to the last of the
/// `lengths[slot]` places in use of `[slots, blocks, k, d, BLOCK]` and `[slots, blocks, k, BLOCK, d]`.
pub fn append(
    [keys, values]: [&mut [f32]; 2],
    blocks: usize,
    heads: Heads,
    slots: &[usize],
    lengths: &[usize],
    [new_keys, new_values]: [Rows<'_>; 2],
) {
    let (kv, d) = (heads.kv, heads.d);
    for (row, &slot) in slots.iter().enumerate() {
        let newest = lengths[slot] - 1;
        let (block, place) = (newest / BLOCK, newest % BLOCK);
        assert!(block < blocks, "a completion is no longer than was planned");
        let start = (slot * blocks + block) * kv * d * BLOCK;
        let (key, value) = (new_keys.row(row, kv * d), new_values.row(row, kv * d));
        for head in 0..kv {
            let keys = &mut keys[start + head * d * BLOCK..][..d * BLOCK];
            for (to, &from) in keys[place..].iter_mut().step_by(BLOCK).zip(&key[head * d..(head + 1) * d]) {
                *to = from;
            }
            let values = &mut values[start + (head * BLOCK + place) * d..][..d];
            values.copy_from_slice(&value[head * d..(head + 1) * d]);
        }
    }
}

/// Puts a prompt's keys and values `[l, k * d]` to `[k, places, d]` and `[k, d, places]`.
pub fn fill(
    [keys, values]: [&mut [f32]; 2],
    places: usize,
    heads: Heads,
    length: usize,
    [new_keys, new_values]: [Rows<'_>; 2],
) {
    let (kv, d) = (heads.kv, heads.d);
    assert!(length <= places, "a prompt is no longer than was planned");
    for place in 0..length {
        let (key, value) = (new_keys.row(place, kv * d), new_values.row(place, kv * d));
        for head in 0..kv {
            keys[(head * places + place) * d..][..d].copy_from_slice(&key[head * d..(head + 1) * d]);
            let values = &mut values[head * d * places..][..d * places];
            for (to, &from) in
                values[place..].iter_mut().step_by(places).zip(&value[head * d..(head + 1) * d])
            {
                *to = from;
            }
        }
    }
}
