//! An answer of `/v1/chat/completions` as completions.

use reft_core::{Completion, FinishReason};
use serde_json::Value;

/// The completions, and the tokens of the prompt. An answer of another shape is an error that shows it.
pub(crate) fn completions(answer: &Value, n: usize) -> Result<(Vec<Completion>, usize), String> {
    let shown = || answer.to_string().chars().take(300).collect::<String>();
    let choices = answer["choices"].as_array().filter(|choices| choices.len() == n);
    let choices =
        choices.ok_or_else(|| format!("the server should give {n} choices, and gave {}", shown()))?;
    let mut ordered: Vec<&Value> = choices.iter().collect();
    ordered.sort_by_key(|choice| choice["index"].as_u64());
    let completions = ordered.into_iter().map(|choice| completion(choice).ok_or_else(shown));
    let completions = completions.collect::<Result<_, _>>();
    let completions = completions.map_err(|shown| format!("a choice has no `message.content`: {shown}"))?;
    Ok((completions, answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0) as usize))
}

fn completion(choice: &Value) -> Option<Completion> {
    // A model that wrote nothing.
    let text = match &choice["message"]["content"] {
        Value::String(text) => text.clone(),
        Value::Null if choice["message"].is_object() => String::new(),
        _ => return None,
    };
    let ids = choice["token_ids"].as_array().map(|ids| ids.iter().filter_map(Value::as_i64).collect());
    let token_ids: Vec<i64> = ids.unwrap_or_default();
    let entries = choice["logprobs"]["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let logprobs: Vec<f32> =
        entries.iter().filter_map(|entry| Some(entry["logprob"].as_f64()? as f32)).collect();
    // Either belongs to every token or is worth nothing.
    let is_whole = logprobs.len() == token_ids.len();
    Some(Completion {
        finish: match choice["finish_reason"].as_str() {
            Some("length") => FinishReason::Length,
            _ => FinishReason::Stop,
        },
        logprobs: if is_whole { logprobs } else { Vec::new() },
        token_ids,
        ..Completion::from_text(text)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_several_servers() {
        let ours = json!({"index": 1, "message": {"content": "b"}, "finish_reason": "length", "token_ids": [5, 6],
                          "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -1.0}]}});
        // A provider's: no ids, a refusal that is null.
        let plain = json!({"index": 0, "message": {"content": null, "refusal": null}, "finish_reason": "stop",
                           "logprobs": {"content": [{"logprob": -0.5}]}});
        let answer = json!({"choices": [ours, plain], "usage": {"prompt_tokens": 9}});
        let (found, prompt_tokens) = completions(&answer, 2).unwrap();
        assert_eq!(prompt_tokens, 9);
        assert_eq!((found[0].text.as_str(), found[0].token_ids.len(), found[0].logprobs.len()), ("", 0, 0));
        assert_eq!(
            (found[1].text.as_str(), &found[1].token_ids, &found[1].logprobs),
            ("b", &vec![5, 6], &vec![-0.5, -1.0])
        );
        assert_eq!((found[0].finish, found[1].finish), (FinishReason::Stop, FinishReason::Length));
        assert!(completions(&answer, 3).unwrap_err().contains("3 choices"));
        assert!(
            completions(&json!({"choices": [{"text": "a"}]}), 1).unwrap_err().contains("message.content")
        );
    }
}
