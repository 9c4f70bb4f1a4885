//! Contrast in each of mdBook's themes, and the palette as colour blindness sees it.

use super::*;

type Rgb = [f64; 3];

/// Theme, `--bg`, `--fg`, `--quote-bg`: from mdBook 0.5.4's `variables.css`.
const THEMES: [(&str, &str, &str, &str); 5] = [
    ("light", "hsl 0 0 100", "#000000", "hsl 197 37 96"),
    ("rust", "hsl 60 9 87", "#262625", "hsl 60 5 75"),
    ("coal", "hsl 200 7 8", "#98a3ad", "hsl 234 21 18"),
    ("navy", "hsl 226 23 11", "#bcbdd0", "hsl 226 15 17"),
    ("ayu", "hsl 210 25 8", "#c5c5c5", "hsl 226 15 17"),
];

const COLOURS: [Colour; 7] = [
    Colour::Blue,
    Colour::Orange,
    Colour::Teal,
    Colour::Purple,
    Colour::Sky,
    Colour::Red,
    Colour::Neutral,
];

/// A colour as CSS writes it (`#rgb`, `#rrggbb`, or `hsl h s l`), from 0 to 1.
fn parse(css: &str) -> Rgb {
    if let Some(rest) = css.strip_prefix("hsl ") {
        let v: Vec<f64> = rest.split(' ').map(|n| n.parse().unwrap()).collect();
        let (h, s, l) = (v[0], v[1] / 100.0, v[2] / 100.0);
        return [0.0, 8.0, 4.0].map(|n: f64| {
            let k = (n + h / 30.0) % 12.0;
            l - s * l.min(1.0 - l) * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)
        });
    }
    let digits = css.strip_prefix('#').unwrap_or_else(|| panic!("{css}"));
    let digits: String = match digits.len() {
        3 => digits.chars().flat_map(|c| [c, c]).collect(),
        _ => digits.to_string(),
    };
    [0, 2, 4]
        .map(|i| f64::from(u8::from_str_radix(&digits[i..i + 2], 16).unwrap()) / 255.0)
}

fn linear(rgb: Rgb) -> Rgb {
    rgb.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) })
}

/// The contrast ratio of WCAG 2.
fn contrast(a: Rgb, b: Rgb) -> f64 {
    let luminance = |c| {
        let [r, g, b] = linear(c);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

/// `top` at `opacity` over `below`.
fn over(top: Rgb, opacity: f64, below: Rgb) -> Rgb {
    [0, 1, 2].map(|i| opacity * top[i] + (1.0 - opacity) * below[i])
}

/// The value of a custom property: the dark theme's, or the fallback.
fn value(css: &str, dark: bool) -> Rgb {
    let (name, fallback) = css
        .strip_prefix("var(")
        .unwrap()
        .strip_suffix(')')
        .unwrap()
        .split_once(',')
        .unwrap();
    let set = THEME_CSS.split_once(&format!("{name}: ")).filter(|_| dark);
    parse(set.map_or(fallback, |(_, rest)| rest.split_once(';').unwrap().0))
}

#[test]
fn text_on_a_colour_has_contrast_with_and_without_the_dark_palette() {
    for dark in [false, true] {
        for colour in COLOURS {
            let ratio =
                contrast(value(colour.css(), dark), value(colour.css_on(), dark));
            assert!(ratio >= 4.5, "{colour:?}, dark palette {dark}: {ratio:.2}");
        }
    }
}

#[test]
fn the_pages_text_has_contrast_on_each_surface_of_each_theme() {
    for (theme, bg, fg, quote) in THEMES {
        let (bg, fg, quote) = (parse(bg), parse(fg), parse(quote));
        for dark in [false, true] {
            let tints = COLOURS.map(|colour| over(value(colour.css(), dark), TINT, bg));
            for (colour, surface) in COLOURS.into_iter().zip(tints) {
                let ratio = contrast(fg, surface);
                assert!(ratio >= 4.5, "{theme}, {colour:?}: {ratio:.2}");
                // The title of a group stands on its ground.
                let ground = over(value(colour.css(), dark), TINT / 2.0, bg);
                let ratio = contrast(over(fg, FAINT, ground), ground);
                assert!(ratio >= 4.5, "{theme}, ground, {colour:?}: {ratio:.2}");
            }
        }
        let ratio = contrast(fg, quote);
        assert!(ratio >= 4.5, "{theme}, neutral: {ratio:.2}");
        for surface in [bg, quote] {
            let ratio = contrast(over(fg, FAINT, surface), surface);
            assert!(ratio >= 4.5, "{theme}, faint text: {ratio:.2}");
        }
    }
}

#[test]
fn lines_stand_out_from_the_background() {
    for (theme, bg, ..) in THEMES {
        let dark = !["light", "rust"].contains(&theme);
        for colour in Colour::ALL {
            let ratio = contrast(value(colour.css(), dark), parse(bg));
            assert!(ratio >= 1.6, "{theme}, {colour:?}: {ratio:.2}");
        }
    }
}

/// Oklab, in which distances are near those that are seen (Björn Ottosson, 2020).
fn oklab([r, g, b]: Rgb) -> Rgb {
    let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).max(0.0).cbrt();
    let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).max(0.0).cbrt();
    let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).max(0.0).cbrt();
    [
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    ]
}

/// Protanopia, deuteranopia, tritanopia in linear RGB (Machado, Oliveira and Fernandes,
/// 2009, severity 1).
const BLINDNESS: [[Rgb; 3]; 3] = [
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
];

#[test]
fn the_hues_differ_for_every_kind_of_sight() {
    let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for dark in [false, true] {
        for sight in BLINDNESS.into_iter().chain([same]) {
            let seen = Colour::ALL.map(|colour| {
                let rgb = linear(value(colour.css(), dark));
                let row =
                    |row: Rgb| row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2];
                oklab(sight.map(row).map(|c| c.clamp(0.0, 1.0)))
            });
            for i in 0..seen.len() {
                for j in 0..i {
                    let distance = (0..3)
                        .map(|k| (seen[i][k] - seen[j][k]).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    let pair = (Colour::ALL[i], Colour::ALL[j]);
                    assert!(distance > 0.08, "{pair:?}, dark {dark}: {distance:.3}");
                }
            }
        }
    }
}
