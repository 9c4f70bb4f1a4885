//! The drawing under way: elements, and what space text takes.

use std::fmt::Write;

use crate::colour::{BG, Colour, FAINT, FG, SURFACE, TINT};
use crate::frame::Frame;
use crate::text::{self, ASCENT, DESCENT, FONTS, LEADING, SIZE, TITLE};
use crate::{Error, text_width};

mod area;
mod looks;

pub(crate) use area::Area;
pub(crate) use looks::{Anchor, Stroke, Style, TEXT};

/// A drawing that grows downwards.
pub(crate) struct Canvas {
    body: String,
    width: f64,
    bottom: f64,
    texts: Vec<(String, Area)>,
}

impl Canvas {
    pub fn new(width: f64) -> Canvas {
        Canvas { body: String::new(), width, bottom: 0.0, texts: Vec::new() }
    }

    /// Where what is drawn so far ends.
    pub fn bottom(&self) -> f64 {
        self.bottom
    }

    /// The lines of text so far, and the areas they take.
    pub fn texts(&self) -> &[(String, Area)] {
        &self.texts
    }

    /// Leaves room down to `y`.
    pub fn extend(&mut self, y: f64) {
        self.bottom = self.bottom.max(y);
    }

    /// One line of the title, below what there is.
    pub fn heading(&mut self, line: &str) {
        let baseline = self.bottom + TITLE;
        self.sized_text(0.0, baseline, line, TITLE, Style { bold: true, ..TEXT });
        self.bottom = baseline + 4.0;
    }

    /// One line of text with its baseline at `y`.
    pub fn text(&mut self, x: f64, y: f64, line: &str, style: Style) {
        self.sized_text(x, y, line, SIZE, style);
    }

    /// Lines of text whose middle is at `y`.
    pub fn lines<S: AsRef<str>>(&mut self, x: f64, y: f64, lines: &[S], style: Style) {
        for (i, line) in lines.iter().enumerate() {
            let row = i as f64 - (lines.len() as f64 - 1.0) / 2.0;
            let baseline = y + row * LEADING + (ASCENT - DESCENT) * SIZE / 2.0 + 0.6;
            self.text(x, baseline, line.as_ref(), style);
        }
    }

    /// One line of text of another size.
    pub fn sized_text(&mut self, x: f64, y: f64, line: &str, size: f64, style: Style) {
        if line.trim().is_empty() {
            return;
        }
        let width = text_width(line, size, style.bold);
        let (left, anchor) = match style.anchor {
            Anchor::Start => (x, ""),
            Anchor::Middle => (x - width / 2.0, " text-anchor=\"middle\""),
            Anchor::End => (x - width, " text-anchor=\"end\""),
        };
        let top = y - ASCENT * size;
        let area = Area::of(left, top, width, (ASCENT + DESCENT) * size);
        self.extend(area.bottom);
        self.texts.push((line.to_string(), area));

        let (x, y) = (number(x), number(y));
        let _ = write!(self.body, "<text x=\"{x}\" y=\"{y}\"{anchor}");
        if size != SIZE {
            let _ = write!(self.body, " font-size=\"{size}\"");
        }
        if style.bold {
            self.body.push_str(" font-weight=\"700\"");
        }
        if style.faint {
            let _ = write!(self.body, " fill-opacity=\"{FAINT}\"");
        }
        if let Some(colour) = style.on {
            let _ = write!(self.body, " style=\"fill:{}\"", colour.css_on());
        }
        let _ = writeln!(self.body, ">{}</text>", text::escape(line));
    }

    /// A rectangle filled with a colour.
    pub fn filled(&mut self, area: Area, radius: f64, colour: Colour) {
        self.rect(area, radius, &format!("style=\"fill:{}\"", colour.css()));
    }

    /// A box to write in: tinted with its colour, or only outlined.
    pub fn surface(&mut self, area: Area, radius: f64, colour: Option<Colour>) {
        let (fill, line, opacity) = match colour {
            None => (BG, FG, 0.55),
            Some(Colour::Neutral) => (SURFACE, FG, 0.35),
            Some(colour) => (BG, colour.css(), 1.0),
        };
        let outline =
            format!("style=\"fill:{fill};stroke:{line};stroke-opacity:{opacity}\"");
        let width = "stroke-width=\"1.5\"";
        match colour {
            None | Some(Colour::Neutral) => {
                self.rect(area, radius, &format!("{width} {outline}"));
            }
            Some(colour) => {
                let tint = format!("fill-opacity=\"{TINT}\"");
                self.rect(area, radius, &format!("style=\"fill:{BG}\""));
                let outline = outline.replacen(BG, colour.css(), 1);
                self.rect(area, radius, &format!("{width} {tint} {outline}"));
            }
        }
    }

    /// A surface for others to stand on: tinted, without an outline.
    pub fn ground(&mut self, area: Area, radius: f64, colour: Colour) {
        let (fill, opacity) = match colour {
            Colour::Neutral => (SURFACE, 1.0),
            colour => (colour.css(), TINT / 2.0),
        };
        let look = format!("fill-opacity=\"{opacity}\" style=\"fill:{fill}\"");
        self.rect(area, radius, &look);
    }

    /// A dashed frame around others.
    pub fn dashed(&mut self, area: Area, radius: f64) {
        let look = "fill=\"none\" stroke-dasharray=\"5 4\" stroke-opacity=\"0.5\"";
        self.rect(area, radius, &format!("{look} style=\"stroke:{FG}\""));
    }

    fn rect(&mut self, area: Area, radius: f64, look: &str) {
        self.extend(area.bottom);
        let _ = writeln!(
            self.body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\" {look}/>",
            number(area.left),
            number(area.top),
            number(area.right - area.left),
            number(area.bottom - area.top),
            number(radius),
        );
    }

    /// A dot with a thin ring of the background around it.
    pub fn dot(&mut self, x: f64, y: f64, radius: f64, colour: &str) {
        self.extend(y + radius);
        let (x, y) = (number(x), number(y));
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" style=\"fill:{colour};\
             stroke:{BG}\"/>"
        );
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        let at = |p: (f64, f64)| format!("{} {}", number(p.0), number(p.1));
        self.extend(from.1.max(to.1));
        self.path(&format!("M{}L{}", at(from), at(to)), stroke);
    }

    /// An open path. The caller knows how far down it reaches.
    pub fn path(&mut self, path: &str, stroke: Stroke) {
        let Stroke { colour, width, opacity, dashes } = stroke;
        let _ = write!(
            self.body,
            "<path d=\"{path}\" fill=\"none\" stroke-width=\"{}\"",
            number(width)
        );
        if opacity != 1.0 {
            let _ = write!(self.body, " stroke-opacity=\"{opacity}\"");
        }
        match dashes {
            Some(dashes) => {
                let _ = write!(self.body, " stroke-dasharray=\"{dashes}\"");
            }
            None => self.body.push_str(" stroke-linejoin=\"round\""),
        }
        let _ = writeln!(self.body, " style=\"stroke:{colour}\"/>");
    }

    /// A closed path filled with a colour.
    pub fn shape(&mut self, path: &str, colour: &str) {
        let _ = writeln!(self.body, "<path d=\"{path}\" style=\"fill:{colour}\"/>");
    }

    /// Draws what `draw` draws, and shows only what of it is inside `area`.
    pub fn clipped(&mut self, id: &str, area: Area, draw: impl FnOnce(&mut Canvas)) {
        let _ = write!(self.body, "<clipPath id=\"viz-{id}-clip\">");
        self.rect(area, 0.0, "");
        let _ = writeln!(self.body, "</clipPath><g clip-path=\"url(#viz-{id}-clip)\">");
        let bottom = self.bottom;
        draw(self);
        self.bottom = bottom;
        self.body.push_str("</g>\n");
    }

    /// The finished figure: `summary` describes it if the author did not.
    ///
    /// # Errors
    ///
    /// Text that leaves the figure, and lines of text over one another.
    pub fn finish(self, frame: &Frame, summary: &str) -> Result<String, Error> {
        let height = (self.bottom + 4.0).ceil();
        self.check(frame)?;
        let Frame { id, title, description, width, .. } = frame;
        let title = text::escape(title);
        let summary = text::escape(description.as_deref().unwrap_or(summary));
        let (width, widest) = (number(*width), number(width * 1.25));
        // Visible beyond its edges: where none of the fonts is, another may be wider
        // than was estimated.
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"viz\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"viz-{id}-title viz-{id}-desc\" \
             font-family=\"{FONTS}\" font-size=\"{SIZE}\" \
             style=\"display:block;width:100%;max-width:{widest}px;height:auto;\
             margin:0 auto;overflow:visible;fill:{FG}\">\n\
             <title id=\"viz-{id}-title\">{title}</title>\n\
             <desc id=\"viz-{id}-desc\">{summary}</desc>\n\
             {}</svg>\n",
            self.body
        ))
    }

    fn check(&self, frame: &Frame) -> Result<(), Error> {
        for (i, (line, area)) in self.texts.iter().enumerate() {
            let Area { left, top, right, .. } = *area;
            if left < -0.5 || top < -0.5 || right > self.width + 0.5 {
                let width = frame.width;
                return frame.error(format!(
                    "the text `{line}` would reach from {left:.0} to {right:.0} at \
                     height {top:.0}, outside the figure's 0 to {width}; move it, \
                     shorten it, or give the figure more width"
                ));
            }
            if let Some((other, _)) =
                self.texts[..i].iter().find(|(_, other)| area.overlaps(other))
            {
                return frame.error(format!(
                    "the texts `{other}` and `{line}` would lie over each other; move \
                     or shorten one, or give the figure more width"
                ));
            }
        }
        Ok(())
    }
}

/// A coordinate with at most two decimals.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}
