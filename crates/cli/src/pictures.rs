//! Pictures in terminals that draw them: kitty's protocol, sixel, iTerm's.

use std::{
    env,
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Result;

/// Widest picture, in columns.
#[cfg(feature = "pictures")]
const COLUMNS: u32 = 48;

/// Whether pictures are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pictures {
    /// In terminals that are known to draw some: kitty, Ghostty, WezTerm, iTerm, Konsole, foot, mlterm, Rio.
    #[default]
    Auto,
    /// Ask the terminal; one that does not answer waits for a key.
    Ask,
    /// Never; files are named instead.
    Never,
}

impl Pictures {
    /// Whether the terminal draws pictures. It is asked itself, once.
    pub(crate) fn are_drawn(self) -> bool {
        let known = |name: &str, parts: &[&str]| {
            env::var(name).is_ok_and(|value| parts.iter().any(|part| value.to_lowercase().contains(part)))
        };
        let answers = match self {
            Self::Never => false,
            Self::Ask => true,
            Self::Auto => {
                known("TERM", &["kitty", "ghostty", "foot", "mlterm"])
                    || known("TERM_PROGRAM", &["wezterm", "iterm", "ghostty", "rio"])
                    || env::var_os("KONSOLE_VERSION").is_some()
            }
        };
        answers && io::stdin().is_terminal() && io::stdout().is_terminal() && is_answered()
    }
}

/// Whether the terminal says that it knows a protocol.
#[cfg(feature = "pictures")]
fn is_answered() -> bool {
    viuer::is_sixel_supported()
        || viuer::is_iterm_supported()
        || viuer::get_kitty_support() != viuer::KittySupport::None
}

/// A program that draws none asks no terminal.
#[cfg(not(feature = "pictures"))]
fn is_answered() -> bool {
    false
}

/// Draws an image file where the cursor is.
#[cfg(feature = "pictures")]
pub(crate) fn draw(path: &Path) -> Result<()> {
    use anyhow::Context as _;

    let shown = || path.display().to_string();
    let image =
        image::ImageReader::open(path).with_context(shown)?.with_guessed_format().with_context(shown)?;
    let image = image.decode().with_context(shown)?;
    // A column is about eight pixels wide; a small picture grows, so that digits in it can be read.
    let columns = image.width().div_ceil(8).clamp(COLUMNS / 3, COLUMNS);
    let config = viuer::Config { absolute_offset: false, width: Some(columns), ..viuer::Config::default() };
    viuer::print(&image, &config).with_context(shown)?;
    Ok(())
}

/// No terminal answers such a program, so nobody calls it.
#[cfg(not(feature = "pictures"))]
pub(crate) fn draw(path: &Path) -> Result<()> {
    anyhow::bail!("`{}`: this program is built without its feature `pictures`", path.display())
}
