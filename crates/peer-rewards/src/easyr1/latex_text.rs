//! LaTeX as running text, as `pylatexenc` writes it and `mathruler` wants it.

/// `\frac{a}{b}` as `a/b`, roots as `sqrt(..)`, symbols as names, everything else without commands and braces.
pub(super) fn latex_to_text(text: &str) -> String {
    let text = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac").replace("\\frac", " \\frac");
    let mut reader = Reader { rest: &text, depth: 0, matrices: 0 };
    let mut out = String::new();
    while !reader.rest.is_empty() {
        out.push_str(&reader.piece());
    }
    out.trim().to_owned()
}

/// Deepest nesting of arguments.
const MAX_DEPTH: usize = 50;

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    /// Matrices that are open.
    matrices: usize,
}

impl Reader<'_> {
    /// The next character, group or command, as text.
    fn piece(&mut self) -> String {
        let mut chars = self.rest.chars();
        let Some(c) = chars.next() else {
            return String::new();
        };
        let after = chars.as_str();
        match c {
            '{' => {
                self.rest = after;
                self.group()
            }
            '\\' => self.command(),
            '&' if self.matrices > 0 => self.taken(after, " "),
            '~' => self.taken(after, " "),
            '}' => self.taken(after, ""),
            c => {
                self.rest = after;
                c.to_string()
            }
        }
    }

    fn taken(&mut self, after: &str, text: &str) -> String {
        self.rest = &self.rest[self.rest.len() - after.len()..];
        text.to_owned()
    }

    /// What stands up to the closing brace.
    fn group(&mut self) -> String {
        let mut out = String::new();
        if self.depth == MAX_DEPTH {
            return out;
        }
        self.depth += 1;
        while !self.rest.is_empty() {
            if let Some(after) = self.rest.strip_prefix('}') {
                self.rest = after;
                break;
            }
            out.push_str(&self.piece());
        }
        self.depth -= 1;
        out
    }

    /// A matrix is a list in brackets; other environments show their content alone.
    fn environment(&mut self, begins: bool) -> String {
        let is_matrix = self.argument().contains("matrix");
        self.matrices = if begins && is_matrix {
            self.matrices + 1
        } else {
            self.matrices.saturating_sub(usize::from(is_matrix))
        };
        match (is_matrix, begins) {
            (true, true) => "[ ".to_owned(),
            (true, false) => " ]".to_owned(),
            (false, _) => String::new(),
        }
    }

    fn argument(&mut self) -> String {
        self.rest = self.rest.trim_start();
        self.piece()
    }

    fn command(&mut self) -> String {
        let after = &self.rest[1..];
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        if letters == 0 {
            let mark = after.chars().next();
            self.rest = &after[mark.map_or(0, char::len_utf8)..];
            return match mark {
                Some(c @ ('{' | '}' | '%' | '$' | '&' | '#' | '_')) => c.to_string(),
                Some('!') | None => String::new(),
                Some('\\') if self.matrices > 0 => "; ".to_owned(),
                Some('\\') => "\n".to_owned(),
                Some(_) => " ".to_owned(),
            };
        }
        let name = &after[..letters];
        self.rest = after[letters..].trim_start();
        match name {
            "frac" => {
                let numerator = self.argument();
                let denominator = self.argument();
                format!("{numerator}/{denominator}")
            }
            "sqrt" => {
                if let Some((_, after)) = self.rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                    self.rest = after;
                }
                format!("sqrt({})", self.argument())
            }
            "pi" => "pi".to_owned(),
            "infty" => "inf".to_owned(),
            "begin" | "end" => self.environment(name == "begin"),
            "mbox" => {
                self.argument();
                String::new()
            }
            "cup" => "U".to_owned(),
            "cdot" | "times" => "*".to_owned(),
            name => symbol(name).map_or_else(String::new, str::to_owned),
        }
    }
}

/// Symbols that stay visible. Commands that are not here vanish; what they hold stays.
fn symbol(name: &str) -> Option<&'static str> {
    Some(match name {
        "le" | "leq" => "≤",
        "ge" | "geq" => "≥",
        "neq" => "≠",
        "pm" => "±",
        "div" => "÷",
        "circ" => "∘",
        "in" => "∈",
        "to" | "rightarrow" => "→",
        "approx" => "≈",
        "alpha" => "α",
        "beta" => "β",
        "gamma" => "γ",
        "delta" => "δ",
        "theta" => "θ",
        "lambda" => "λ",
        "mu" => "μ",
        "sigma" => "σ",
        "phi" => "ϕ",
        "omega" => "ω",
        "angle" => "∠",
        "cap" => "∩",
        "emptyset" => "∅",
        "ldots" | "dots" => "…",
        "cdots" => "⋯",
        "lfloor" => "⌊",
        "rfloor" => "⌋",
        "Delta" => "Δ",
        "sin" => "sin",
        "cos" => "cos",
        "tan" => "tan",
        "log" => "log",
        "ln" => "ln",
        _ => return None,
    })
}
