//! Writes one figure of each kind, and a page that shows all on light and on dark.
//!
//! ```sh
//! cargo run -p viz --example gallery -- /tmp/gallery
//! ```

use std::{env, error::Error, fs, path::Path};

mod figures;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: gallery DIR, where the figures and index.html are to go";
    let folder = env::args().nth(1).ok_or(usage)?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let mut page = String::from(HEAD);
    page.push_str(viz::THEME_CSS);
    page.push_str("</style>\n");
    for theme in ["light", "navy"] {
        page.push_str(&format!("<section class=\"{theme}\"><div>\n"));
        for (name, svg) in figures::all()? {
            fs::write(folder.join(format!("{name}.svg")), &svg)?;
            // Two copies on one page need two ids.
            let copy = svg.replace("viz-gallery-", &format!("viz-{theme}-"));
            page.push_str(&format!("<figure>{copy}</figure>\n"));
        }
        page.push_str("</div></section>\n");
    }
    fs::write(folder.join("index.html"), page)?;
    println!("{}", folder.join("index.html").display());
    Ok(())
}

const HEAD: &str = "<!doctype html>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>viz</title>
<style>
body { margin: 0; display: flex; flex-wrap: wrap; }
section { flex: 1 1 360px; background: var(--bg); }
section > div { max-width: 750px; margin: 0 auto; padding: 12px 15px; }
figure { margin: 0 0 48px; }
.light { --bg: #fff; --fg: #333; --quote-bg: hsl(197, 37%, 96%); }
.navy { --bg: hsl(226, 23%, 11%); --fg: #bcbdd0; --quote-bg: hsl(226, 15%, 17%); }
";
