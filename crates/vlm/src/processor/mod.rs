//! From messages to what the model reads, and from sampled tokens to text.
//!
//! Token ids and pixel values equal those of `transformers` 5 (`AutoProcessor`), which the tests hold against golden
//! files. Two things are stricter: control-token strings inside a message are text, never control tokens; and image
//! spans are known from the moment a template's placeholder is expanded, never found again by counting ids.

mod decode;
mod error;
mod images;
mod jpeg;
mod key;
mod resized;
mod template;
mod tokenizer;

use std::path::Path;

use reft_core::{ImageGrid, ImageRef, Message, Part, PixelBudget};
use serde_json::Value;
use tch::Tensor;

use crate::model::VlmConfig;

pub use decode::check_image;
pub use error::ProcessorError;
pub use images::{ImageProcessor, ImageViews, ProcessedView};
pub use key::ImageKey;
pub use template::ChatTemplate;
pub use tokenizer::TextTokenizer;

/// Marks where a text belongs when texts are tokenized apart from the template; a private-use character.
const MARK: char = '\u{e000}';

/// A prompt as the model reads it.
#[derive(Debug)]
pub struct EncodedPrompt {
    /// Token ids, images expanded.
    pub token_ids: Vec<i64>,
    /// The views of its images in reading order.
    pub images: Vec<ImageSpan>,
    /// Whether the template ends the prompt inside a think block, as those of thinking models do.
    pub think_opened: bool,
}

/// An image of a prompt, or a view of one where a family makes several of an image.
#[derive(Debug)]
pub struct ImageSpan {
    /// Which it is.
    pub key: ImageKey,
    /// Index of its first token.
    pub start: usize,
    /// Its patch grid; it has `grid.tokens` tokens.
    pub grid: ImageGrid,
    /// `[rows * columns, patch_dim]` patches, fp32 on the CPU.
    pub pixels: Tensor,
}

impl ImageSpan {
    /// The same with the same pixels in memory.
    #[must_use]
    pub fn shared(&self) -> Self {
        let &Self { key, start, grid, ref pixels } = self;
        Self { key, start, grid, pixels: pixels.shallow_clone() }
    }
}

/// Image processor, chat template and tokenizer of a checkpoint.
#[derive(Clone)]
pub struct Processor {
    images: ImageProcessor,
    template: ChatTemplate,
    tokenizer: TextTokenizer,
    /// The template's placeholder of an image.
    image_token: &'static str,
    /// None for a model of text alone.
    image_token_id: Option<i64>,
    context_limit: usize,
}

/// Token ids and image spans, before any pixel is read.
struct Layout {
    token_ids: Vec<i64>,
    starts: Vec<usize>,
    think_opened: bool,
}

/// What the template made of a conversation, with one image token per image.
struct Templated {
    token_ids: Vec<i64>,
    think_opened: bool,
}

impl Processor {
    /// Reads the folder of a checkpoint of this config. Areas replace the checkpoint's when given.
    pub fn open(
        dir: &Path,
        config: &VlmConfig,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, ProcessorError> {
        let tokenizer = TextTokenizer::open(dir)?;
        let image_token = config.family.image_token();
        Ok(Self {
            images: ImageProcessor::open(dir, config, min_pixels, max_pixels)?,
            template: ChatTemplate::open(dir)?,
            image_token,
            image_token_id: tokenizer.special_id(image_token),
            tokenizer,
            context_limit: config.text.max_position_embeddings,
        })
    }

    /// The prompt of a conversation, up to and including the opening of the assistant's turn.
    pub fn encode(&self, messages: &[Message]) -> Result<EncodedPrompt, ProcessorError> {
        let images: Vec<&ImageRef> = images(messages).collect();
        // Too long prompts are refused before their pixels are decoded.
        let layout = self.layout(messages, &self.views(&images)?)?;
        let mut spans = Vec::with_capacity(layout.starts.len());
        let mut starts = layout.starts.into_iter();
        for image in images {
            let views = self.images.process(image)?.into_iter().zip(starts.by_ref());
            spans.extend(views.map(|(view, start)| {
                let ProcessedView { key, grid, pixels } = view;
                ImageSpan { key, start, grid, pixels }
            }));
        }
        Ok(EncodedPrompt { images: spans, token_ids: layout.token_ids, think_opened: layout.think_opened })
    }

    /// A prompt that is written out, control tokens and all, and shows no image.
    pub fn encode_text(&self, text: &str) -> Result<EncodedPrompt, ProcessorError> {
        self.of_tokens(self.tokenizer.encode_template(text)?)
    }

    /// A prompt of these tokens, which shows no image.
    pub fn of_tokens(&self, token_ids: Vec<i64>) -> Result<EncodedPrompt, ProcessorError> {
        let placed = token_ids.iter().filter(|&&id| Some(id) == self.image_token_id).count();
        if placed > 0 {
            return Err(ProcessorError::ImageCount { placed, given: 0 });
        }
        if token_ids.len() > self.context_limit {
            let (tokens, limit) = (token_ids.len(), self.context_limit);
            return Err(ProcessorError::TooLong { tokens, image_tokens: 0, limit });
        }
        Ok(EncodedPrompt { token_ids, images: Vec::new(), think_opened: false })
    }

    /// Tokens of the prompt, without decoding an image. Fails as [`Self::encode`] does when they are too many.
    pub fn count_prompt_tokens(&self, messages: &[Message]) -> Result<usize, ProcessorError> {
        let images: Vec<&ImageRef> = images(messages).collect();
        Ok(self.layout(messages, &self.views(&images)?)?.token_ids.len())
    }

    /// Token ids of an assistant's turn; control-token strings in it are text. The end token is appended when `end`.
    pub fn encode_completion(&self, text: &str, end: bool) -> Result<Vec<i64>, ProcessorError> {
        let mut ids = self.tokenizer.encode_literal(text)?;
        ids.extend(end.then_some(self.tokenizer.end_id()));
        Ok(ids)
    }

    /// The text of a completion, end and padding tokens left out.
    pub fn decode(&self, ids: &[i64]) -> String {
        self.tokenizer.decode(ids)
    }

    /// Tokens that end a completion.
    pub fn end_token_ids(&self) -> &[i64] {
        self.tokenizer.end_ids()
    }

    /// Control tokens that are never sampled, and that the trainer masks in the same way: every special token but the
    /// end tokens, ascending.
    pub fn control_token_ids(&self) -> Vec<i64> {
        self.tokenizer.control_ids()
    }

    /// How image sizes become those that the model reads: what rewards need where boxes are given in that frame. None where
    /// an image is not resized as a whole.
    pub fn budget(&self) -> Option<PixelBudget> {
        self.images.budget()
    }

    /// Id of the token that stands for one feature of an image; none when the tokenizer has no such token.
    pub fn image_token_id(&self) -> Option<i64> {
        self.image_token_id
    }

    /// The image processor.
    pub fn images(&self) -> &ImageProcessor {
        &self.images
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Most tokens that prompt and completion may take together.
    pub fn context_limit(&self) -> usize {
        self.context_limit
    }

    /// The control tokens of views that the tokenizer has not.
    pub(crate) fn missing_tokens(&self) -> Vec<&'static str> {
        let wanted = std::iter::once(self.image_token).chain(self.images.control_tokens().iter().copied());
        wanted.filter(|token| self.tokenizer.special_id(token).is_none()).collect()
    }

    fn views(&self, images: &[&ImageRef]) -> Result<Vec<ImageViews>, ProcessorError> {
        images.iter().map(|image| self.images.views(image)).collect()
    }

    fn layout(&self, messages: &[Message], images: &[ImageViews]) -> Result<Layout, ProcessorError> {
        let Templated { token_ids: template_ids, think_opened } = self.templated(messages, images)?;
        let is_image = |id: &i64| Some(*id) == self.image_token_id;
        let placed = template_ids.iter().filter(|id| is_image(id)).count();
        let grids: Vec<ImageGrid> = images.iter().flat_map(|views| &views.grids).copied().collect();
        if placed != grids.len() {
            return Err(ProcessorError::ImageCount { placed, given: grids.len() });
        }

        let image_tokens: usize = images.iter().map(ImageViews::tokens).sum();
        let mut token_ids = Vec::with_capacity(template_ids.len() + image_tokens - placed);
        let mut starts = Vec::with_capacity(placed);
        let mut rest = grids.iter();
        for id in template_ids {
            match rest.as_slice().first() {
                Some(grid) if is_image(&id) => {
                    starts.push(token_ids.len());
                    token_ids.extend(std::iter::repeat_n(id, grid.tokens));
                    rest.next();
                }
                _ => token_ids.push(id),
            }
        }
        if token_ids.len() > self.context_limit {
            return Err(ProcessorError::TooLong {
                tokens: token_ids.len(),
                image_tokens,
                limit: self.context_limit,
            });
        }
        Ok(Layout { token_ids, starts, think_opened })
    }

    /// The conversation by the template.
    ///
    /// Ordinary chats are tokenized as one text, as the reference does, because a text's first characters may merge
    /// with the template's last ones. Only when a text holds a control-token string are texts cut out and tokenized
    /// apart, without control tokens.
    fn templated(&self, messages: &[Message], images: &[ImageViews]) -> Result<Templated, ProcessorError> {
        let mut placeholders = Placeholders::new(self.image_token, images);
        if !messages.iter().any(|message| self.tokenizer.has_special(&text_of(message))) {
            let rendered = self.template.render(messages)?;
            let token_ids = self.tokenizer.encode_template(&placeholders.replaced(&rendered))?;
            placeholders.check(images.len())?;
            return Ok(Templated { token_ids, think_opened: opens_thinking(&rendered) });
        }
        let texts: Vec<&str> = messages.iter().flat_map(|m| &m.content).filter_map(text_part).collect();
        let marks: Vec<String> = (0..texts.len()).map(|index| format!("{MARK}{index}{MARK}")).collect();
        let rendered = self.template.render_with(messages, |index, _| marks[index].as_str())?;
        let mut ids = Vec::new();
        for (n, piece) in rendered.split(MARK).enumerate() {
            if n % 2 == 0 {
                ids.extend(self.tokenizer.encode_template(&placeholders.replaced(piece))?);
            } else {
                let text = piece.parse().ok().and_then(|index: usize| texts.get(index));
                let text =
                    text.ok_or_else(|| ProcessorError::Template("it alters the texts it is given".into()))?;
                ids.extend(self.tokenizer.encode_literal(text)?);
            }
        }
        placeholders.check(images.len())?;
        Ok(Templated { token_ids: ids, think_opened: opens_thinking(&rendered) })
    }
}

/// A JSON file; none when it is not there.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>, ProcessorError> {
    let text = match reft_core::read_text(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ProcessorError::file(path, e)),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| ProcessorError::file(path, e))
}

/// The template's placeholders, which become the texts of the images one after another.
struct Placeholders<'a> {
    image_token: &'static str,
    images: std::slice::Iter<'a, ImageViews>,
    placed: usize,
}

impl<'a> Placeholders<'a> {
    fn new(image_token: &'static str, images: &'a [ImageViews]) -> Self {
        Self { image_token, images: images.iter(), placed: 0 }
    }

    /// What the template wrote, images in place. A placeholder without an image stays.
    fn replaced(&mut self, rendered: &str) -> String {
        let mut pieces = rendered.split(self.image_token);
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            self.placed += 1;
            text.push_str(self.images.next().map_or(self.image_token, |views| &views.text));
            text.push_str(piece);
        }
        text
    }

    fn check(&self, given: usize) -> Result<(), ProcessorError> {
        if self.placed == given {
            return Ok(());
        }
        Err(ProcessorError::ImageCount { placed: self.placed, given })
    }
}

fn opens_thinking(prompt: &str) -> bool {
    prompt.trim_end().ends_with("<think>")
}

fn images(messages: &[Message]) -> impl Iterator<Item = &ImageRef> {
    messages.iter().flat_map(|message| &message.content).filter_map(|part| match part {
        Part::Image(image) => Some(image),
        Part::Text(_) => None,
    })
}

fn text_part(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        Part::Image(_) => None,
    }
}

/// The texts of a message joined: a control string may not be smuggled in as two halves either.
fn text_of(message: &Message) -> String {
    message.content.iter().filter_map(text_part).collect()
}
