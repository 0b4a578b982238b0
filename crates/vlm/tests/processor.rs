//! The processor against what `transformers` computes (`fixtures/generate/golden_vlm.py`).
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_core::{ImageRef, ImageSize, ImageSource, Message, Part, Role};
use reft_vlm::{
    checkpoint::read_tensors,
    model::VlmConfig,
    processor::{ChatTemplate, ImageProcessor, ProcessedView, Processor, ProcessorError},
};
use serde_json::Value;
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn tiny() -> PathBuf {
    golden("tiny-vlm")
}

fn config(model: &str) -> VlmConfig {
    VlmConfig::open(&golden(model)).unwrap()
}

fn processor() -> Processor {
    Processor::open(&tiny(), &config("tiny-vlm"), None, None).unwrap()
}

fn image(file: &str, width: u32, height: u32) -> ImageRef {
    ImageRef {
        source: ImageSource::Path(golden("images").join(file)),
        size: ImageSize { width, height },
        label: Arc::from(file),
    }
}

/// An image of the golden set with the size that the reference found.
fn golden_image(file: &str, tensors: &BTreeMap<String, Tensor>) -> ImageRef {
    let size = tensors[&format!("rgb.{file}")].size();
    image(file, size[1] as u32, size[0] as u32)
}

fn messages(chat: &Value) -> Vec<Message> {
    let part = |part: &Value| match part["image"].as_str() {
        Some(file) => {
            let (width, height) = image::image_dimensions(golden("images").join(file)).unwrap();
            Part::Image(image(file, width, height))
        }
        None => Part::Text(part["text"].as_str().unwrap().to_owned()),
    };
    let turns = chat["messages"].as_array().unwrap().iter();
    turns
        .map(|turn| Message {
            role: serde_json::from_value(turn["role"].clone()).unwrap(),
            content: turn["content"].as_array().unwrap().iter().map(part).collect(),
        })
        .collect()
}

fn user(text: &str) -> Vec<Message> {
    vec![Message { role: Role::User, content: vec![Part::Text(text.into())] }]
}

fn ids(value: &Value) -> Vec<i64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn assert_same(ours: &Tensor, theirs: &Tensor, what: &str) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference == 0.0, "{what} differs by {difference}");
}

/// Every family's processor: its own template, sizes, means and deviations.
#[test]
fn chats_become_the_same_tokens_and_pixels() {
    let families = [
        ("tiny-vlm", "chats.json", "images.safetensors"),
        ("qwen2-vl/model", "qwen2-vl/chats.json", "qwen2-vl/outputs.safetensors"),
        ("qwen3-vl/model", "qwen3-vl/chats.json", "qwen3-vl/outputs.safetensors"),
        ("qwen3_5/model", "qwen3_5/chats.json", "qwen3_5/outputs.safetensors"),
        ("smolvlm/model", "smolvlm/chats.json", "smolvlm/outputs.safetensors"),
        ("internvl-qwen2/model", "internvl-qwen2/chats.json", "internvl-qwen2/outputs.safetensors"),
        ("internvl-qwen3/model", "internvl-qwen3/chats.json", "internvl-qwen3/outputs.safetensors"),
    ];
    for (model, chats, pixels) in families {
        let processor = Processor::open(&golden(model), &config(model), None, None).unwrap();
        let pixels = read_tensors(&golden(pixels)).unwrap();
        let chats: Value = serde_json::from_slice(&fs::read(golden(chats)).unwrap()).unwrap();
        let chats = chats.as_array().unwrap();
        assert_eq!(chats.len(), if processor.budget().is_some() { 5 } else { 6 });
        for chat in chats {
            let name = format!("{model} {}", chat["name"]);
            let messages = messages(chat);
            let prompt = processor.encode(&messages).unwrap();
            assert_eq!(prompt.token_ids, ids(&chat["token_ids"]), "{name}");
            assert_eq!(processor.count_prompt_tokens(&messages).unwrap(), prompt.token_ids.len(), "{name}");

            let expected = chat["images"].as_array().unwrap();
            assert_eq!(prompt.images.len(), expected.len(), "{name}");
            let refs = messages.iter().flat_map(|m| &m.content).filter_map(|p| match p {
                Part::Image(image) => Some(image),
                Part::Text(_) => None,
            });
            for (span, golden) in prompt.images.iter().zip(expected) {
                let found = [span.start, span.grid.rows, span.grid.columns];
                assert_eq!(
                    found,
                    ["start", "rows", "columns"].map(|key| golden[key].as_u64().unwrap() as usize),
                    "{name}"
                );
            }
            // Of all views of all images, in order.
            let ours: Vec<&Tensor> = prompt.images.iter().map(|span| &span.pixels).collect();
            let theirs: Vec<&Tensor> =
                refs.map(|image| &pixels[&format!("pixels.{}", image.label)]).collect();
            if !ours.is_empty() {
                assert_same(&Tensor::cat(&ours, 0), &Tensor::cat(&theirs, 0), &name);
            }
        }
    }
}

#[test]
fn completions_are_tokenized_and_decoded_as_in_the_reference() {
    let processor = processor();
    let text = "<think>2 + 3</think><answer>5</answer>";
    let chats: Value = serde_json::from_slice(&fs::read(golden("chats.json")).unwrap()).unwrap();
    let expected = ids(&chats[0]["completion_ids"]);
    assert_eq!(processor.encode_completion(text, true).unwrap(), expected);
    assert_eq!(processor.decode(&expected), text);

    // A completion that spells a control token does not contain it.
    let spelled = processor.encode_completion("a<|im_end|>b<|image_pad|>", false).unwrap();
    assert!(!spelled.iter().any(|id| processor.end_token_ids().contains(id)));
    assert!(!spelled.iter().any(|id| processor.control_token_ids().contains(id)));
    assert_eq!(processor.decode(&spelled), "a<|im_end|>b<|image_pad|>");
}

#[test]
fn end_tokens_may_be_sampled_and_other_control_tokens_may_not() {
    let processor = processor();
    let id = |token: &str| processor.tokenizer().special_id(token).unwrap();
    assert_eq!(processor.end_token_ids(), [id("<|im_end|>"), id("<|endoftext|>")]);
    let mut control: Vec<i64> = [
        "<|im_start|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    .map(id)
    .into();
    control.sort_unstable();
    assert_eq!(processor.control_token_ids(), control);
}

#[test]
fn control_strings_in_two_halves_stay_text() {
    let processor = processor();
    let content = vec![Part::Text("x<|im_".into()), Part::Text("end|>y".into())];
    let prompt = processor.encode(&[Message { role: Role::User, content }]).unwrap();
    let plain = processor.encode(&user("xy")).unwrap();
    let ends = |ids: &[i64]| ids.iter().filter(|id| processor.end_token_ids().contains(id)).count();
    assert_eq!(ends(&prompt.token_ids), ends(&plain.token_ids));
}

/// What other projects use as a placeholder, and a tag that looks like one, are words here.
#[test]
fn a_literal_image_tag_stays_text() {
    for (model, text) in [("tiny-vlm", "an <image> and <img>"), ("qwen3-vl/model", "<image>\n<video>")] {
        let processor = Processor::open(&golden(model), &config(model), None, None).unwrap();
        let prompt = processor.encode(&user(text)).unwrap();
        assert!(prompt.images.is_empty());
        assert!(!prompt.token_ids.iter().any(|&id| Some(id) == processor.image_token_id()));
        assert!(processor.decode(&prompt.token_ids).contains(text), "{text}");
    }
}

/// Every pixel format, through a processor that neither resizes nor normalises nor cuts finer than a pixel.
#[test]
fn pixel_formats_become_the_same_rgb() {
    let settings = r#"{"patch_size": 1, "merge_size": 1, "temporal_patch_size": 1, "do_rescale": false,
        "do_normalize": false, "size": {"shortest_edge": 1, "longest_edge": 1000000}}"#;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
    let processor = ImageProcessor::open(dir.path(), &config("tiny-vlm"), None, None).unwrap();
    let tensors = read_tensors(&golden("images.safetensors")).unwrap();
    let rgb = |file: &str| {
        let image = golden_image(file, &tensors);
        let size = [i64::from(image.size.height), i64::from(image.size.width), 3];
        processor.process(&image).unwrap()[0].pixels.view(size)
    };

    let files = tensors.keys().filter_map(|name| name.strip_prefix("rgb."));
    let mut n = 0;
    for file in files {
        let theirs = tensors[&format!("rgb.{file}")].to_kind(Kind::Float);
        match file {
            // Pillow turns this one white; ours keeps the high byte, as both do for 16-bit colour.
            "grey16.png" => {
                let grey = rgb("rgb16.png").select(2, 1).unsqueeze(2).expand([11, 20, 3], false);
                assert_same(&rgb(file), &grey, file);
            }
            // Two JPEG decoders may round differently.
            "rotated.jpg" => {
                let difference = (rgb(file) - &theirs).abs();
                assert!(
                    difference.max().double_value(&[]) <= 3.0
                        && difference.mean(Kind::Float).double_value(&[]) < 0.5
                );
            }
            _ => assert_same(&rgb(file), &theirs, file),
        }
        n += 1;
    }
    assert_eq!(n, 12);
}

/// Real photographs in the formats of real data sets (`fixtures/generate/golden_photos.py`), with the published settings.
/// All are equal to the last bit of fp32.
#[test]
fn photographs_become_the_same_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let settings = r#"{"patch_size": 14, "size": {"shortest_edge": 3136, "longest_edge": 12845056}}"#;
    fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
    let processor = ImageProcessor::open(dir.path(), &config("tiny-vlm"), None, None).unwrap();
    let golden_pixels = read_tensors(&golden("photos/pixels.safetensors")).unwrap();
    let files: Vec<&str> = golden_pixels.keys().filter_map(|key| key.strip_prefix("pixels.")).collect();
    assert_eq!(files.len(), 11);
    for file in files {
        let path = golden("photos").join(file);
        let (width, height) = ::image::image_dimensions(&path).unwrap();
        let (width, height) = if file == "rocket_turned.jpg" { (height, width) } else { (width, height) };
        let photo = ImageRef {
            source: ImageSource::Path(path),
            size: ImageSize { width, height },
            label: Arc::from(file),
        };
        let [ProcessedView { grid, pixels, .. }] = &processor.process(&photo).unwrap()[..] else {
            panic!("{file}: one view")
        };
        let [rows, columns, numbers] =
            [0, 1, 2].map(|i| golden_pixels[&format!("grid.{file}")].int64_value(&[i]));
        assert_eq!(
            [grid.rows as i64, grid.columns as i64, pixels.numel() as i64],
            [rows, columns, numbers],
            "{file}"
        );

        let theirs = &golden_pixels[&format!("pixels.{file}")];
        let places =
            (Tensor::arange(theirs.size()[0], (Kind::Int64, tch::Device::Cpu)) * 7919).remainder(numbers);
        let max = (pixels.flatten(0, -1).index_select(0, &places) - theirs).abs().max().double_value(&[]);
        assert!(max == 0.0, "{file}: {max}");
    }
}

#[test]
fn unusable_images_are_named() {
    let processor = processor();
    let broken = |source: ImageSource, width, height| ImageRef {
        source,
        size: ImageSize { width, height },
        label: Arc::from("row 17"),
    };
    let png = fs::read(golden("images/photo.png")).unwrap();
    let truncated = ImageSource::Bytes(Arc::from(&png[..png.len() / 2]));
    let cases = [
        (broken(truncated, 85, 62), "cannot be decoded"),
        (broken(ImageSource::Bytes(Arc::from(&b"hello"[..])), 85, 62), "cannot be decoded"),
        (broken(ImageSource::Path("no/such.png".into()), 85, 62), "no/such.png"),
        (broken(ImageSource::Bytes(Arc::from(png)), 85, 63), "is 85x62"),
        (broken(ImageSource::Bytes(Arc::from(&b""[..])), 0, 10), "no pixels"),
        (broken(ImageSource::Bytes(Arc::from(&b""[..])), 2010, 10), "aspect ratio"),
    ];
    for (image, expected) in cases {
        let message = Message { role: Role::User, content: vec![Part::Image(image)] };
        let error = processor.encode(&[message]).unwrap_err().to_string();
        assert!(error.contains("row 17") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_prompt_over_the_context_is_refused_before_its_images_are_read() {
    let mut config = config("tiny-vlm");
    config.text.max_position_embeddings = 50;
    let processor = Processor::open(&tiny(), &config, None, None).unwrap();
    let content = vec![Part::Image(image("missing.png", 85, 62)), Part::Text("what?".into())];
    let messages = [Message { role: Role::User, content }];
    let error = processor.encode(&messages).unwrap_err();
    assert!(matches!(error, ProcessorError::TooLong { image_tokens: 35, limit: 50, .. }), "{error}");
    assert!(processor.count_prompt_tokens(&messages).is_err());
}

#[test]
fn areas_given_replace_the_checkpoints() {
    let processor = Processor::open(&tiny(), &config("tiny-vlm"), Some(64), Some(640)).unwrap();
    let budget = processor.budget().unwrap();
    assert_eq!((budget.min_pixels, budget.max_pixels), (64, 640));
    assert!(processor.images().views(&image("photo.png", 85, 62)).unwrap().tokens() <= 10);
}

/// Older folders keep image settings in `preprocessor_config.json` and the template in `tokenizer_config.json`.
#[test]
fn the_older_layout_reads_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "generation_config.json"] {
        fs::copy(tiny().join(file), dir.path().join(file)).unwrap();
    }
    let mut tokenizer: Value =
        serde_json::from_slice(&fs::read(tiny().join("tokenizer_config.json")).unwrap()).unwrap();
    tokenizer["chat_template"] = fs::read_to_string(tiny().join("chat_template.jinja")).unwrap().into();
    fs::write(dir.path().join("tokenizer_config.json"), tokenizer.to_string()).unwrap();
    let settings = r#"{"patch_size": 4, "min_pixels": 1024, "max_pixels": 2400, "image_processor_type": "Qwen2VLImageProcessor"}"#;
    fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();

    let older = Processor::open(dir.path(), &config("tiny-vlm"), None, None).unwrap();
    assert_eq!(older.budget(), processor().budget());
    assert_eq!(older.images().key(&[]), processor().images().key(&[]), "mean and deviation too");
    assert_eq!(
        older.encode(&user("hi")).unwrap().token_ids,
        processor().encode(&user("hi")).unwrap().token_ids
    );
}

/// As in `transformers`: the older names win, a `size` without its areas is an error.
#[test]
fn areas_are_read_under_both_names() {
    let open = |settings: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
        ImageProcessor::open(dir.path(), &config("tiny-vlm"), None, None)
            .map(|images| images.budget().unwrap())
    };
    let cases = [
        ("{}", (3136, 1_003_520)),
        (r#"{"size": {"shortest_edge": 65536, "longest_edge": 16777216}}"#, (65_536, 16_777_216)),
        (r#"{"min_pixels": 7, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}"#, (7, 16_777_216)),
        (r#"{"min_pixels": 7, "max_pixels": 9, "size": {"min_pixels": 8, "max_pixels": 8}}"#, (7, 9)),
    ];
    for (settings, expected) in cases {
        let budget = open(settings).unwrap();
        assert_eq!((budget.min_pixels, budget.max_pixels), expected, "{settings}");
    }
    let error = open(r#"{"size": {"min_pixels": 8, "max_pixels": 8}}"#).unwrap_err().to_string();
    assert!(error.contains("`shortest_edge`") && error.contains("`longest_edge`"), "{error}");
}

#[test]
fn folders_without_a_processor_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Processor::open(dir.path(), &config("tiny-vlm"), None, None).err().unwrap().to_string();
    assert!(open().contains("tokenizer.json"));
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(tiny().join(file), dir.path().join(file)).unwrap();
    }
    assert!(open().contains("preprocessor_config.json"));
    fs::write(dir.path().join("preprocessor_config.json"), r#"{"resample": 1, "do_resize": false}"#).unwrap();
    let error = open();
    assert!(error.contains("resample = 1") && error.contains("do_resize"), "{error}");
    fs::copy(tiny().join("processor_config.json"), dir.path().join("processor_config.json")).unwrap();
    assert!(open().contains("chat_template.jinja"));
}

#[test]
fn templates_have_what_hugging_face_gives_them() {
    let render = |source: &str| {
        ChatTemplate::new(source.into(), "<s>".into(), "</s>".into())
            .and_then(|template| template.render(&user("a \"b\" <é>")))
    };
    let cases = [
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": [{"type": "text", "text": "a \"b\" <é>"}]}"#,
        ),
        ("{{ bos_token }}{{ messages[0]['content'][0]['text'].split(' ')[0] }}{{ eos_token }}", "<s>a</s>"),
        ("  {% if add_generation_prompt %}\nyes\n  {% endif %}\n", "yes\n"),
        ("{{ messages[0].role.upper() }}", "USER"),
        // Everything below was printed by Jinja 3.1 in the environment of `transformers` 5.
        (
            "{{ true }} {{ none }} {{ [1.0, 'a', none] }} {{ {'a': \"it's\"} }} {{ false|string }}",
            "True None [1.0, 'a', None] {'a': \"it's\"} False",
        ),
        (
            "{{ ['a', {'b': 1}] | trim }} {{ none | upper }} {{ 'xax' | trim('x') }} {{ tools|length }} {{ [1]|count }}",
            "['a', {'b': 1}] NONE a 0 1",
        ),
        (
            "{{ {'a': [1, 'é'], 'b': {}} | tojson(indent=2) }}",
            "{\n  \"a\": [\n    1,\n    \"é\"\n  ],\n  \"b\": {}\n}",
        ),
        (
            "{{ {'b': 'é😀', 'a': none} | tojson(ensure_ascii=True, sort_keys=True) }}",
            r#"{"a": null, "b": "\u00e9\ud83d\ude00"}"#,
        ),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        (
            "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=')[2] }} {{ 'ab'.partition('=')[0] }}",
            "['a', '=', 'b=c'] c ab",
        ),
        ("{{ 'a b c'.rsplit(' ', 1) }} {{ 'abc'.removeprefix('a').removesuffix('c') }}", "['a b', 'c'] b"),
        ("{{ '%s has %d, %02d' % ('x', 3, 7) }} {{ 'a%s' % messages[0].role }}", "x has 3, 07 auser"),
        ("a{% generation %}b\n{%- endgeneration -%}\n c", "abc"),
        ("{% macro f(a, b=1) -%}\n {{ a }}{{ b }}{%- endmacro %}{{ f('x') }}", "x1"),
        ("{% set s %}x{{ 1 }}{% endset %}{% set a, b = 1, 2 %}{{ s }}{{ a }}{{ b }}", "x112"),
        ("{{ 7 % 4 }}", "3"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
    assert!(
        render("{{ raise_exception('no images, please') }}")
            .unwrap_err()
            .to_string()
            .contains("no images, please")
    );
    assert!(render("{{ strftime_now('%Y') }}").unwrap_err().to_string().contains("date"));
    assert!(render("{% if %}").is_err());
}

/// A template is somebody else's program.
#[test]
fn templates_that_run_away_are_stopped() {
    let nested = "{% for a in range(99999) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
    let doubled =
        "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    let collected = "{% set ns = namespace(l=[]) %}{% set s = 'x' * 9999999 %}\
                     {% for a in range(9999) %}{% set ns.l = ns.l + [s ~ a] %}{% endfor %}";
    let recursive = "{% macro f(s) %}{{ f(s ~ s) }}{% endmacro %}{{ f('x') }}";
    let written = "{% set s = 'x' * 9999 %}{% for a in range(99999) %}{{ s }}{% endfor %}";
    for source in [nested.as_str(), doubled, collected, recursive, written] {
        let template = ChatTemplate::new(source.into(), String::new(), String::new()).unwrap();
        let error = template.render(&user("x")).unwrap_err().to_string();
        assert!(error.contains("fuel") || error.contains("too much"), "{source}: {error}");
    }
}

/// Settings of a family in a folder of another, and settings that contradict the tower.
#[test]
fn processors_that_do_not_belong_to_the_model_are_refused() {
    let error = |model: &str, settings: &str, whole: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
        fs::write(dir.path().join("processor_config.json"), whole).unwrap();
        ImageProcessor::open(dir.path(), &config(model), None, None).err().unwrap().to_string()
    };
    let cases = [
        (
            "tiny-vlm",
            r#"{"image_processor_type": "SmolVLMImageProcessor"}"#,
            "{}",
            "image processor of SmolVLM2",
        ),
        (
            "smolvlm/model",
            r#"{"image_processor_type": "Qwen2VLImageProcessorFast"}"#,
            "{}",
            "image processor of Qwen-VL",
        ),
        (
            "smolvlm/model",
            r#"{"image_processor_type": "GotOcr2ImageProcessor"}"#,
            "{}",
            "image processor of InternVL",
        ),
        ("smolvlm/model", r#"{"max_image_size": {"longest_edge": 20}}"#, "{}", "do not merge by 2"),
        ("smolvlm/model", r#"{"max_image_size": {"longest_edge": 16}, "resample": 3}"#, "{}", "1 is Lanczos"),
        (
            "smolvlm/model",
            r#"{"max_image_size": {"longest_edge": 16}}"#,
            r#"{"image_seq_len": 9}"#,
            "says 9 tokens a view",
        ),
        ("internvl-qwen2/model", r#"{"size": {"height": 16, "width": 32}}"#, "{}", "32x16 is not square"),
        (
            "internvl-qwen2/model",
            r#"{"size": {"height": 16, "width": 16}}"#,
            r#"{"image_seq_length": 256}"#,
            "says 256",
        ),
    ];
    for (model, settings, whole, expected) in cases {
        let error = error(model, settings, whole);
        assert!(error.contains(expected) && error.contains("config.json"), "{model} {settings}: {error}");
    }
    // Areas that leave no tile, and one that has no meaning.
    let open = |model: &str, min, max| ImageProcessor::open(&golden(model), &config(model), min, max);
    assert!(open("smolvlm/model", None, Some(200)).err().unwrap().to_string().contains("less than one tile"));
    assert!(open("smolvlm/model", Some(1), None).err().unwrap().to_string().contains("leave it out"));
    assert!(
        open("internvl-qwen2/model", None, Some(200)).err().unwrap().to_string().contains("raise max_pixels")
    );
    // One tile and no picture of the whole beside it.
    let photo = image("photo.png", 85, 62);
    for model in ["smolvlm/model", "internvl-qwen2/model"] {
        let views = |max| open(model, None, max).unwrap().views(&photo).unwrap().grids.len();
        assert!(views(None) > 2 && views(Some(256)) == 1, "{model}");
    }
}
