//! Answers in OpenAI's format, whole or in pieces.

use std::sync::Arc;

use reft_core::FinishReason;
use reft_rollout::Drawn;
use reft_vlm::processor::Processor;
use serde_json::{Map, Value, json};

use crate::{
    request::{Route, Wanted},
    text::TextSoFar,
};

type Decode = Box<dyn Fn(&[i64]) -> String + Send>;

/// What is the same in all pieces.
pub(crate) struct Head {
    /// `chatcmpl-...`.
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) route: Route,
    /// Whether token ids are told.
    pub(crate) with_ids: bool,
    /// Of each prompt.
    pub(crate) prompts: Vec<Vec<i64>>,
}

/// One answer.
struct Answer {
    so_far: TextSoFar<Decode>,
    text: String,
    ids: Vec<i64>,
    logprobs: Vec<Value>,
    finish: Option<FinishReason>,
    /// Of a stream: tokens that were told.
    told: usize,
}

/// All answers to a request.
pub(crate) struct Reply {
    pub(crate) head: Head,
    processor: Arc<Processor>,
    logprobs: Option<usize>,
    /// To one prompt.
    n: usize,
    answers: Vec<Answer>,
    begun: Vec<bool>,
}

impl Reply {
    pub(crate) fn new(head: Head, processor: &Arc<Processor>, wanted: &Wanted) -> Self {
        let n = wanted.params.group_size;
        let answer = |_| {
            let own = Arc::clone(processor);
            let decode: Decode = Box::new(move |ids: &[i64]| own.decode(ids));
            Answer {
                so_far: TextSoFar::new(decode, wanted.params.stop.clone()),
                text: String::new(),
                ids: Vec::new(),
                logprobs: Vec::new(),
                finish: None,
                told: 0,
            }
        };
        let count = n * head.prompts.len();
        Self {
            processor: Arc::clone(processor),
            logprobs: wanted.logprobs,
            n,
            answers: (0..count).map(answer).collect(),
            begun: vec![false; count],
            head,
        }
    }

    /// Whether all answers have ended.
    pub(crate) fn is_whole(&self) -> bool {
        self.answers.iter().all(|answer| answer.finish.is_some())
    }

    pub(crate) fn prompt_tokens(&self) -> usize {
        self.head.prompts.iter().map(Vec::len).sum()
    }

    pub(crate) fn completion_tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.ids.len()).sum()
    }

    /// One more token; the text that it makes sure of.
    pub(crate) fn push(&mut self, index: usize, drawn: &Drawn) -> String {
        let logprobs = self.logprobs.map(|_| self.of_token(drawn));
        let answer = &mut self.answers[index];
        answer.ids.push(drawn.token);
        answer.logprobs.extend(logprobs);
        let new = answer.so_far.push(drawn.token);
        answer.text.push_str(&new);
        new
    }

    /// The end of an answer; the text that was held back.
    pub(crate) fn end(&mut self, index: usize, finish: FinishReason) -> String {
        let answer = &mut self.answers[index];
        answer.finish = Some(finish);
        let rest = answer.so_far.finish();
        answer.text.push_str(&rest);
        rest
    }

    fn of_token(&self, drawn: &Drawn) -> Value {
        let told = |id: i64, logprob: f32| {
            let token = self.processor.decode(&[id]);
            json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()})
        };
        let mut entry = told(drawn.token, drawn.logprob);
        entry["top_logprobs"] = drawn.top.iter().map(|&(id, logprob)| told(id, logprob)).collect();
        entry
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens(), self.completion_tokens());
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    fn envelope(&self, object: &str) -> Map<String, Value> {
        let Head { id, created, model, .. } = &self.head;
        let envelope = json!({"id": id, "object": object, "created": created, "model": model});
        if let Value::Object(fields) = envelope { fields } else { Map::new() }
    }

    /// Log-probabilities of some tokens of an answer, as its route has them.
    fn logprobs_of(&self, entries: &[Value], first_offset: usize) -> Value {
        let Some(_) = self.logprobs else { return Value::Null };
        if self.head.route == Route::Chat {
            return json!({"content": entries});
        }
        let each = |of: &dyn Fn(&Value) -> Value| entries.iter().map(of).collect::<Vec<_>>();
        let mut offset = first_offset;
        let offsets = entries.iter().map(|entry| {
            let at = offset;
            offset += entry["token"].as_str().map_or(0, |token| token.chars().count());
            at
        });
        let top = |entry: &Value| {
            let listed = entry["top_logprobs"].as_array().into_iter().flatten();
            let pairs = listed
                .map(|top| (top["token"].as_str().unwrap_or_default().to_owned(), top["logprob"].clone()));
            Value::Object(pairs.collect())
        };
        json!({
            "text_offset": offsets.collect::<Vec<_>>(),
            "tokens": each(&|entry| entry["token"].clone()),
            "token_logprobs": each(&|entry| entry["logprob"].clone()),
            "top_logprobs": each(&top),
        })
    }

    /// The whole of it.
    pub(crate) fn body(&self) -> Value {
        let choices = self.answers.iter().enumerate().map(|(index, answer)| {
            let logprobs = self.logprobs_of(&answer.logprobs, 0);
            let mut choice = match self.head.route {
                Route::Chat => {
                    json!({"index": index, "message": {"role": "assistant", "content": answer.text}})
                }
                Route::Text => json!({"index": index, "text": answer.text}),
            };
            choice["logprobs"] = logprobs;
            choice["finish_reason"] = word(answer.finish);
            if self.head.with_ids {
                choice["token_ids"] = json!(answer.ids);
                if self.head.route == Route::Text {
                    choice["prompt_token_ids"] = json!(self.head.prompts[index / self.n]);
                }
            }
            choice
        });
        let chat = self.head.route == Route::Chat;
        let mut body = self.envelope(if chat { "chat.completion" } else { "text_completion" });
        body.insert("choices".into(), choices.collect());
        body.insert("usage".into(), self.usage());
        if self.head.with_ids && chat {
            body.insert("prompt_token_ids".into(), json!(self.head.prompts[0]));
        }
        body.into()
    }

    /// A piece of a stream: new text of an answer, and its end. None where nothing is new.
    pub(crate) fn chunk(&mut self, index: usize, text: &str, is_end: bool) -> Option<Value> {
        let tells = self.logprobs.is_some() || self.head.with_ids;
        if text.is_empty() && !is_end && !tells {
            return None;
        }
        let is_first = !std::mem::replace(&mut self.begun[index], true);
        let chat = self.head.route == Route::Chat;
        let answer = &self.answers[index];
        let mut choice = if chat {
            let mut delta = if is_first { json!({"role": "assistant"}) } else { json!({}) };
            if !text.is_empty() || is_first {
                delta["content"] = text.into();
            }
            json!({"index": index, "delta": delta})
        } else {
            json!({"index": index, "text": text})
        };
        let new = answer.told..answer.ids.len();
        if self.logprobs.is_some() {
            let before = answer.text.chars().count().saturating_sub(text.chars().count());
            choice["logprobs"] = self.logprobs_of(&answer.logprobs[new.clone()], before);
        } else {
            choice["logprobs"] = Value::Null;
        }
        choice["finish_reason"] = if is_end { word(answer.finish) } else { Value::Null };
        if self.head.with_ids {
            choice["token_ids"] = json!(answer.ids[new.clone()]);
            if is_first && !chat {
                choice["prompt_token_ids"] = json!(self.head.prompts[index / self.n]);
            }
        }
        self.answers[index].told = new.end;
        let mut chunk = self.envelope(if chat { "chat.completion.chunk" } else { "text_completion" });
        chunk.insert("choices".into(), json!([choice]));
        if self.head.with_ids && chat && is_first && index == 0 {
            chunk.insert("prompt_token_ids".into(), json!(self.head.prompts[0]));
        }
        Some(chunk.into())
    }

    /// The piece of a stream that counts tokens.
    pub(crate) fn usage_chunk(&self) -> Value {
        let chat = self.head.route == Route::Chat;
        let mut chunk = self.envelope(if chat { "chat.completion.chunk" } else { "text_completion" });
        chunk.insert("choices".into(), json!([]));
        chunk.insert("usage".into(), self.usage());
        chunk.into()
    }
}

fn word(finish: Option<FinishReason>) -> Value {
    match finish {
        Some(FinishReason::Stop) => "stop".into(),
        Some(FinishReason::Length) => "length".into(),
        None => Value::Null,
    }
}
