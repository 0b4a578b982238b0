//! Reading and writing weights.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{altered, golden, stored};
use reft_core::Checkpointed as _;
use reft_vlm::{
    Vlm, VlmError, VlmOptions,
    checkpoint::{
        CheckpointError, CheckpointFolder, SaveOptions, TensorFile, read_tensors, save_folder, write_tensors,
    },
    model::canonical_name,
};
use tch::{Device, Kind, Tensor};

fn tiny() -> PathBuf {
    golden("tiny-vlm")
}

fn tensor(name: &str, values: &[f32]) -> (String, Tensor) {
    (name.into(), Tensor::from_slice(values))
}

/// Names and shapes as stored.
fn specs(dir: &Path) -> Vec<(String, Vec<i64>)> {
    let file = TensorFile::open(&dir.join("model.safetensors")).unwrap();
    file.tensors().iter().map(|(name, info)| (name.clone(), info.shape.clone())).collect()
}

#[test]
fn tensors_come_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let tensors: Vec<(String, Tensor)> = vec![
        tensor("f32", &[1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::NAN, f32::INFINITY, 0.1]),
        ("i64".into(), Tensor::from_slice(&[i64::MIN, -1, i64::MAX])),
        ("bf16".into(), Tensor::from_slice(&[1.5_f32, 3e38]).to_kind(Kind::BFloat16)),
        ("scalar".into(), Tensor::from(7_i64)),
        ("empty".into(), Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))),
        ("strided".into(), Tensor::arange(6, (Kind::Int64, Device::Cpu)).view([2, 3]).transpose(0, 1)),
    ];
    write_tensors(&path, &tensors).unwrap();
    let read = read_tensors(&path).unwrap();
    assert_eq!(read.len(), tensors.len());
    let bytes = |t: &Tensor| {
        let t = t.contiguous();
        let mut bytes = vec![0; t.numel() * t.kind().elt_size_in_bytes()];
        t.copy_data_u8(&mut bytes, t.numel());
        bytes
    };
    for (name, tensor) in &tensors {
        assert_eq!((read[name].size(), read[name].kind()), (tensor.size(), tensor.kind()), "{name}");
        assert_eq!(bytes(&read[name]), bytes(tensor), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
}

/// tch's reader is another implementation of the format.
#[test]
fn other_readers_read_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    write_tensors(&path, &[tensor("b", &[1.0, 2.0]), tensor("a", &[3.0])]).unwrap();
    let mut read = Tensor::read_safetensors(&path).unwrap();
    read.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(read[0].0, "a");
    assert_eq!(Vec::<f32>::try_from(&read[1].1).unwrap(), [1.0, 2.0]);
}

#[test]
fn a_folder_converts_to_the_type_asked_for() {
    let stored = &read_tensors(&tiny().join("model.safetensors")).unwrap();
    let folder = CheckpointFolder::open(&tiny()).unwrap();
    for kind in [Kind::Float, Kind::Half, Kind::BFloat16] {
        let made: Vec<(&str, Tensor)> =
            stored.iter().map(|(name, t)| (name.as_str(), t.zeros_like().to_kind(kind))).collect();
        let targets: Vec<(&str, &Tensor)> = made.iter().map(|(name, t)| (*name, t)).collect();
        folder.read_into(&targets, &[]).unwrap();
        for (name, read) in made {
            assert_eq!((stored[name].kind(), read.kind()), (Kind::BFloat16, kind));
            assert!(read.equal(&stored[name].to_kind(kind)), "{name} {kind:?}");
        }
    }
}

/// More elements than are copied at a time, not a multiple of that, behind a header of odd length.
#[test]
fn large_tensors_come_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let n = 7 * 600_001;
    let values = Tensor::arange(n, (Kind::Float, Device::Cpu));
    let last = values.narrow(0, n - 3, 3);
    let same = values.copy();
    let other = values.copy();
    let _ = other.narrow(0, n - 1, 1).fill_(0.0);
    write_tensors(
        &path,
        &[
            ("a".into(), values.view([-1, 7])),
            ("b".into(), same.view([-1, 7])),
            ("c".into(), other.view([-1, 7])),
            ("d".into(), last),
        ],
    )
    .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    bytes[..8].copy_from_slice(&(header + 1).to_le_bytes());
    bytes.insert(8 + header as usize, b' ');
    fs::write(&path, bytes).unwrap();

    let read = read_tensors(&path).unwrap();
    assert!(read["a"].equal(&values.view([-1, 7])) && read["d"].equal(&values.narrow(0, n - 3, 3)));
    let folder = CheckpointFolder::open(dir.path()).unwrap();
    assert_eq!(folder.are_equal(["a", "b"]).unwrap(), Some(true));
    assert_eq!(folder.are_equal(["a", "c"]).unwrap(), Some(false));
    assert_eq!(folder.are_equal(["a", "d"]).unwrap(), Some(false));
    assert_eq!(folder.are_equal(["a", "e"]).unwrap(), None);
}

const INDEX: &str = "model.safetensors.index.json";

/// A folder of two shards: `a.safetensors` with two tensors, `b.safetensors` with one.
fn sharded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let shard_a = [tensor("model.norm.weight", &[1.0, 2.0]), tensor("visual.x", &[4.0])];
    write_tensors(&dir.path().join("a.safetensors"), &shard_a).unwrap();
    write_tensors(&dir.path().join("b.safetensors"), &[tensor("lm_head.weight", &[3.0, 5.0])]).unwrap();
    let index = r#"{"metadata": {}, "weight_map": {"model.norm.weight": "a.safetensors",
        "visual.x": "a.safetensors", "lm_head.weight": "b.safetensors"}}"#;
    fs::write(dir.path().join(INDEX), index).unwrap();
    dir
}

/// Where the tensors of [`sharded`] go, in another order.
fn targets_of_shards() -> [(&'static str, Tensor); 3] {
    [("lm_head.weight", 2), ("visual.x", 1), ("model.norm.weight", 2)]
        .map(|(name, n)| (name, Tensor::zeros([n], (Kind::Float, Device::Cpu))))
}

fn refused(dir: &Path, parts: &[&str]) {
    let error = CheckpointFolder::open(dir).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
}

#[test]
fn shards_read_like_a_single_file() {
    let dir = sharded();
    let folder = CheckpointFolder::open(dir.path()).unwrap();
    let targets = targets_of_shards();
    folder.read_into(&targets.each_ref().map(|(name, tensor)| (*name, tensor)), &[]).unwrap();
    let read: Vec<f32> = Tensor::cat(&targets.map(|(_, t)| t), 0).try_into().unwrap();
    assert_eq!(read, [3.0, 5.0, 4.0, 1.0, 2.0]);
}

#[test]
fn shards_that_are_missing_or_cut_are_named_with_a_tensor() {
    let dir = sharded();
    let shard = dir.path().join("b.safetensors");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    refused(dir.path(), &["b.safetensors`", "not a complete safetensors file", "`lm_head.weight`"]);
    fs::remove_file(&shard).unwrap();
    refused(dir.path(), &[INDEX, "`b.safetensors` is not there", "`lm_head.weight`"]);
}

#[test]
fn a_shard_that_shrinks_after_it_was_opened_is_named() {
    let dir = sharded();
    let folder = CheckpointFolder::open(dir.path()).unwrap();
    let shard = fs::File::options().write(true).open(dir.path().join("b.safetensors")).unwrap();
    let size = shard.metadata().unwrap().len();
    shard.set_len(size - 4).unwrap();
    let targets = targets_of_shards();
    let targets = targets.each_ref().map(|(name, tensor)| (*name, tensor));
    let error = folder.read_into(&targets, &[]).unwrap_err().to_string();
    let change = format!("from {size} to {} bytes", size - 4);
    for part in ["b.safetensors`", "`lm_head.weight`", &change] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let dir = sharded();
    let index = |map: &str| {
        fs::write(dir.path().join(INDEX), format!(r#"{{"weight_map": {{{map}}}}}"#)).unwrap();
    };
    index(r#""model.norm.weight": "b.safetensors", "visual.x": "a.safetensors""#);
    refused(
        dir.path(),
        &[INDEX, "`model.norm.weight` should be in `b.safetensors`, but `a.safetensors` holds it"],
    );
    index(r#""model.norm.weight": "a.safetensors", "gone": "a.safetensors""#);
    refused(dir.path(), &[INDEX, "`gone` should be in `a.safetensors`, but no shard holds it"]);
    index(r#""x": "../a.safetensors""#);
    refused(dir.path(), &[INDEX, "`../a.safetensors` of `x` is not a file name"]);
    fs::write(dir.path().join(INDEX), "{}").unwrap();
    refused(dir.path(), &[INDEX, "not an index"]);
}

#[test]
fn a_tensor_in_two_places_is_refused() {
    let dir = sharded();
    let twice = [tensor("lm_head.weight", &[3.0, 5.0]), tensor("model.visual.x", &[4.0])];
    write_tensors(&dir.path().join("b.safetensors"), &twice).unwrap();
    // The same parameter under the names of both layouts.
    refused(dir.path(), &["a.safetensors", "b.safetensors", "`model.visual.x`", "`visual.x`"]);
    let twice = [tensor("lm_head.weight", &[3.0, 5.0]), tensor("visual.x", &[4.0])];
    write_tensors(&dir.path().join("b.safetensors"), &twice).unwrap();
    refused(dir.path(), &["a.safetensors", "b.safetensors", "`visual.x`"]);
}

#[test]
fn names_of_both_layouts_are_one() {
    assert_eq!(
        canonical_name("model.language_model.layers.0.mlp.up_proj.weight"),
        "model.layers.0.mlp.up_proj.weight"
    );
    assert_eq!(canonical_name("model.visual.patch_embed.proj.weight"), "visual.patch_embed.proj.weight");
    assert_eq!(canonical_name("lm_head.weight"), "lm_head.weight");
}

#[test]
fn every_problem_of_a_folder_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let stored = [
        tensor("model.visual.a", &[1.0]),
        tensor("b", &[1.0, 2.0]),
        ("c".to_owned(), Tensor::from_slice(&[1_i64])),
        tensor("extra", &[1.0]),
        tensor("lm_head.weight", &[1.0]),
    ];
    write_tensors(&dir.path().join("model.safetensors"), &stored).unwrap();
    let expected: Vec<(String, Vec<i64>)> =
        [("visual.a", vec![1]), ("b", vec![3]), ("c", vec![1]), ("gone", vec![1]), ("lost", vec![2])]
            .map(|(name, shape)| (name.to_owned(), shape))
            .into();
    let folder = CheckpointFolder::open(dir.path()).unwrap();
    let made: Vec<Tensor> = expected
        .iter()
        .map(|(_, shape)| Tensor::zeros(shape.as_slice(), (Kind::Float, Device::Cpu)))
        .collect();
    let targets: Vec<(&str, &Tensor)> =
        expected.iter().zip(&made).map(|((name, _), t)| (name.as_str(), t)).collect();
    let error = folder.read_into(&targets, &["lm_head.weight"]).unwrap_err();
    assert!(made.iter().all(|t| t.count_nonzero(None).int64_value(&[]) == 0), "nothing was read");
    let text = error.to_string();
    let CheckpointError::Mismatch { missing, unexpected, misshaped, mistyped, .. } = error else {
        panic!("{text}")
    };
    assert_eq!((missing, unexpected), (vec!["gone".to_owned(), "lost".into()], vec!["extra".to_owned()]));
    assert_eq!((misshaped.len(), mistyped.len()), (1, 1));
    for part in ["`gone`", "`lost`", "`extra`", "`b` is [2], not [3]", "`c` is I64, not F32, BF16 or F16"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn broken_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let missing = CheckpointFolder::open(dir.path()).unwrap_err().to_string();
    assert!(missing.contains("neither `model.safetensors` nor"), "{missing}");
    fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    let pickled = CheckpointFolder::open(dir.path()).unwrap_err().to_string();
    assert!(pickled.contains("`pytorch_model.bin`") && pickled.contains("save_pretrained"), "{pickled}");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n").unwrap();
    let pointer = CheckpointFolder::open(dir.path()).unwrap_err().to_string();
    assert!(pointer.contains("model.safetensors") && pointer.contains("git lfs pull"), "{pointer}");

    let whole = fs::read(tiny().join("model.safetensors")).unwrap();
    let mut longer = whole.clone();
    longer.extend([0; 3]);
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &[0; 8]].concat();
    let cases = [
        whole[..whole.len() - 1].to_vec(),
        whole[..1000].to_vec(),
        whole[..5].to_vec(),
        longer,
        Vec::new(),
        header("[1, 2]"),
        header(r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [4611686018427387905, 4], "data_offsets": [0, 8]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [2]}}"#),
    ];
    for (n, bytes) in cases.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let error = CheckpointFolder::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("model.safetensors") && error.contains("not a complete safetensors file"),
            "{n}: {error}"
        );
    }
}

#[test]
fn a_saved_folder_has_its_companions_and_says_its_type() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/b");
    let tensors: Vec<(String, Tensor)> =
        read_tensors(&tiny().join("model.safetensors")).unwrap().into_iter().collect();
    save_folder(&out, &tensors, &SaveOptions::new(Kind::Float), &tiny()).unwrap();
    for file in fs::read_dir(tiny()).unwrap() {
        assert!(out.join(file.unwrap().file_name()).exists());
    }
    let config = fs::read_to_string(out.join("config.json")).unwrap();
    assert!(config.contains(r#""dtype": "float32""#) && !config.contains("bfloat16"), "{config}");
    assert!(
        TensorFile::open(&out.join("model.safetensors"))
            .unwrap()
            .tensors()
            .values()
            .all(|t| t.dtype == "F32")
    );
    assert_eq!(specs(&out), specs(&tiny()));

    // Saving over itself keeps the folder whole.
    save_folder(&out, &tensors, &SaveOptions::new(Kind::Half), &out).unwrap();
    assert_eq!(specs(&out), specs(&tiny()));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    write_tensors(&path, &[tensor("a", &[1.0])]).unwrap();
    // A folder in the temporary file's place makes the write fail before the rename.
    fs::create_dir(dir.path().join("x.safetensors.tmp")).unwrap();
    let error = write_tensors(&path, &[tensor("a", &[2.0])]).unwrap_err().to_string();
    assert!(error.contains("x.safetensors") && error.contains("cannot be written"), "{error}");
    assert_eq!(read_tensors(&path).unwrap()["a"].double_value(&[0]), 1.0);
}

fn assert_same_params(a: &Vlm, b: &Vlm) {
    assert_eq!(a.params().params().len(), b.params().params().len());
    for (a, b) in a.params().params().iter().zip(b.params().params()) {
        assert!(a.spec == b.spec && a.tensor.equal(&b.tensor), "{}", a.spec.name);
    }
}

#[test]
fn every_family_saves_what_it_loaded() {
    for (name, kind) in [
        ("tiny-vlm", Kind::BFloat16),
        ("qwen2-vl/model", Kind::Half),
        ("qwen3-vl/model", Kind::BFloat16),
        ("smolvlm/model", Kind::BFloat16),
        ("internvl-qwen2/model", Kind::BFloat16),
        ("internvl-qwen3/model", Kind::Float),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let model = Vlm::open(&golden(name), VlmOptions::default()).unwrap();
        model.save_as(dir.path(), kind).unwrap();
        assert_same_params(&model, &Vlm::open(dir.path(), VlmOptions::default()).unwrap());
        // The files hold the same bits under the same names, in one file instead of shards.
        let (before, after) = (stored(&golden(name)), stored(dir.path()));
        assert_eq!(before.len(), after.len(), "{name}");
        for ((name, before), (saved, after)) in before.iter().zip(&after) {
            assert!(name == saved && before.kind() == after.kind() && before.equal(after), "{name} {saved}");
        }
    }
}

/// Shards as `transformers` writes them: equal names and bits, no shard too large, nothing of an earlier save left.
#[test]
fn large_models_are_saved_in_shards() {
    for (name, kind) in [("tiny-vlm", Kind::BFloat16), ("qwen2-vl/model", Kind::Half)] {
        let model = Vlm::open(&golden(name), VlmOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let files = || -> Vec<String> {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| name.contains("safetensors"));
            names.sort();
            names
        };
        model.save_as(dir.path(), kind).unwrap();
        assert_eq!(files(), ["model.safetensors"]);
        // The embedding alone takes 20 kB.
        model.save_sharded(dir.path(), kind, 30_000).unwrap();
        let shards = files();
        let n = shards.len() - 1;
        assert!(n >= 3, "{shards:?}");
        assert_eq!(shards[0], format!("model-00001-of-{n:05}.safetensors"));
        assert_eq!(shards[n], INDEX);
        for shard in &shards[..n] {
            let tensors = read_tensors(&dir.path().join(shard)).unwrap();
            let bytes: usize = tensors.values().map(|t| 2 * t.numel()).sum();
            assert!(bytes <= 30_000, "{shard} holds {bytes} bytes");
        }
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.path().join(INDEX)).unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_parameters"], model.params().numel());
        assert_eq!(index["metadata"]["total_size"], 2 * model.params().numel());

        let (before, after) = (stored(&golden(name)), stored(dir.path()));
        assert_eq!(before.len(), after.len(), "{name}");
        for ((name, before), (saved, after)) in before.iter().zip(&after) {
            assert!(name == saved && before.equal(after), "{name} {saved}");
        }
        assert_same_params(&model, &Vlm::open(dir.path(), VlmOptions::default()).unwrap());
        // Fewer shards, then one file, over the same folder.
        model.save_sharded(dir.path(), kind, 60_000).unwrap();
        assert!(files().len() < shards.len());
        assert_same_params(&model, &Vlm::open(dir.path(), VlmOptions::default()).unwrap());
        model.save_as(dir.path(), kind).unwrap();
        assert_eq!(files(), ["model.safetensors"]);
    }
}

/// transformers 4.52 to 4.57 named the tensors by its classes; 4.51 and before, and published files, do not.
#[test]
fn names_before_and_after_transformers_4_52_load() {
    let model = Vlm::open(&golden("qwen2-vl/model"), VlmOptions::default()).unwrap();
    let newer = altered("qwen2-vl/model", |tensors| {
        for (name, _) in tensors {
            *name = match name.strip_prefix("model.") {
                Some(rest) => format!("model.language_model.{rest}"),
                None => format!("model.{name}"),
            };
        }
    });
    assert_same_params(&model, &Vlm::open(newer.path(), VlmOptions::default()).unwrap());
}

/// As `transformers` decides: a stored head counts when it is not the embedding, whatever the config says.
#[test]
fn a_stored_head_of_a_tied_model_counts_when_it_differs() {
    let with_head = |head: fn(&Tensor) -> Tensor| {
        let dir = altered("qwen2-vl/model", |tensors| {
            let embedding = &tensors.iter().find(|(name, _)| name == "model.embed_tokens.weight").unwrap().1;
            tensors.push(("lm_head.weight".into(), head(embedding)));
        });
        Vlm::open(dir.path(), VlmOptions::default())
    };
    let same = with_head(Tensor::copy).unwrap();
    let wider = with_head(|embedding| embedding.to_kind(Kind::Float)).unwrap();
    let other = with_head(|embedding| embedding + 0.5).unwrap();
    assert!(same.config().tie_word_embeddings && wider.config().tie_word_embeddings);
    assert!(!other.config().tie_word_embeddings);
    assert_eq!(other.params().params().len(), same.params().params().len() + 1);
    let text = with_head(|embedding| embedding.narrow(0, 0, 7)).err().unwrap().to_string();
    assert!(text.contains("`lm_head.weight` is [7, 32], not [320, 32]"), "{text}");
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let broken = |value: f64| {
        altered("qwen3-vl/model", |tensors| {
            for (name, tensor) in tensors {
                if name.contains("q_norm") || name.contains("deepstack_merger_list.1.norm.bias") {
                    let _ = tensor.get(3).fill_(value);
                }
            }
        })
    };
    let open =
        |dir: &tempfile::TempDir, kind| Vlm::open(dir.path(), VlmOptions { kind, ..VlmOptions::default() });
    for value in [f64::NAN, f64::NEG_INFINITY] {
        let error = open(&broken(value), Kind::Float).err().unwrap();
        let text = error.to_string();
        let VlmError::Checkpoint(CheckpointError::NonFinite { names, .. }) = error else { panic!("{text}") };
        assert_eq!(names.len(), 4, "{text}");
        assert!(text.contains("`model.layers.0.self_attn.q_norm.weight`"), "{text}");
        assert!(text.contains("`visual.deepstack_merger_list.1.norm.bias`"), "{text}");
    }
    // bf16 holds numbers that fp16 does not.
    let large = broken(1e30);
    assert!(open(&large, Kind::BFloat16).is_ok());
    assert!(open(&large, Kind::Half).err().unwrap().to_string().contains("fp16"));
}

/// A folder of one family with the config of another: everything is named in one report.
#[test]
fn a_config_that_does_not_fit_the_weights_is_reported_whole() {
    let dir = altered("qwen3-vl/model", |tensors| {
        tensors.retain(|(name, _)| name != "model.visual.pos_embed.weight");
        tensors.push(("model.visual.extra".into(), Tensor::from(1.0_f32)));
        for (name, tensor) in tensors {
            match name.as_str() {
                "model.language_model.norm.weight" => *tensor = tensor.narrow(0, 0, 31),
                "lm_head.weight" => *tensor = tensor.to_kind(Kind::Int),
                _ => {}
            }
        }
    });
    let text = Vlm::open(dir.path(), VlmOptions::default()).err().unwrap().to_string();
    for part in [
        "1 missing, 1 unexpected, 1 of another shape, 1 of another type",
        "`visual.pos_embed.weight`",
        "`visual.extra`",
        "`model.norm.weight` is [31], not [32]",
        "`lm_head.weight` is I32",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_tokenizer_without_the_needed_tokens_is_refused() {
    let dir = altered("qwen3-vl/model", |_| {});
    let path = dir.path().join("tokenizer.json");
    let whole = fs::read_to_string(&path).unwrap();
    let open = || Vlm::open(dir.path(), VlmOptions::default()).err().unwrap().to_string();

    // The image token under another name.
    fs::write(&path, whole.replace("<|image_pad|>", "<|picture|>")).unwrap();
    let error = open();
    assert!(error.contains("no control token `<|image_pad|>`"), "{error}");

    // An end token that the tokenizer does not have, with no other one named.
    fs::write(&path, whole).unwrap();
    fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    let config_path = dir.path().join("tokenizer_config.json");
    let config = fs::read_to_string(&config_path).unwrap();
    fs::write(&config_path, config.replace(r#""eos_token": "<|im_end|>""#, r#""eos_token": "<|end|>""#))
        .unwrap();
    assert!(open().contains("eos_token"), "{}", open());
}

#[test]
fn a_processor_that_does_not_fit_the_tower_is_refused() {
    for (field, value, expected) in [
        ("temporal_patch_size", 1, "numbers"),
        ("patch_size", 8, "patches of 8 px"),
        ("merge_size", 1, "merged by 1"),
    ] {
        let dir = altered("qwen3-vl/model", |_| {});
        let path = dir.path().join("preprocessor_config.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json[field] = value.into();
        fs::write(&path, json.to_string()).unwrap();
        let error = Vlm::open(dir.path(), VlmOptions::default()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// What diverged is never called a checkpoint, and the error says what to lower.
#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let model = Vlm::open(&tiny(), VlmOptions::default()).unwrap();
    for value in [f64::NAN, f64::INFINITY] {
        let buffer = model.learned().buffers().values().next().unwrap();
        let first = buffer.view(-1).get(0).detach();
        let before = first.copy();
        let _ = first.shallow_clone().fill_(value);
        let dir = tempfile::tempdir().unwrap();
        let error = model.save(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not finite") && error.contains("`lr`"), "{value}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{value}");
        first.shallow_clone().copy_(&before);
        model.save(dir.path()).unwrap();
    }
}
