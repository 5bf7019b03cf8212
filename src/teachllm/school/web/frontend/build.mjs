// Bundles the page: main.js and main.css with their chunks and fonts, a manifest with content hashes, the licences.
//   node build.mjs            into ../static/built (replaced as a whole, so a running studio never sees half of it)
//   node build.mjs OUTDIR     into another folder
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = resolve(process.argv[2] ?? join(here, "..", "static", "built"));
const draft = `${outdir}.${process.pid}`;

/** Every browser that we support reads woff2: leave KaTeX's other font formats out. */
const onlyWoff2 = {
  name: "only-woff2",
  setup(build) {
    build.onLoad({ filter: /katex(\.min)?\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, ""),
      loader: "css",
      resolveDir: dirname(path),
    }));
  },
};

const result = await esbuild.build({
  absWorkingDir: here,
  entryPoints: ["main.js", "main.css"],
  outdir: draft,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  minify: true,
  entryNames: "[name]",
  chunkNames: "chunks/[name]-[hash]",
  assetNames: "fonts/[name]-[hash]",
  loader: { ".woff2": "file" },
  legalComments: "none",
  metafile: true,
  plugins: [onlyWoff2],
  logLevel: "warning",
});

writeFileSync(join(draft, "licenses.txt"), licenses(result.metafile));
writeFileSync(join(draft, "manifest.json"), JSON.stringify(manifest(draft), null, 1) + "\n");
replace(draft, outdir);

/** Stable name → content hash and size, and the fonts that the first screen needs. */
function manifest(folder) {
  const entries = {};
  for (const name of ["main.js", "main.css"]) {
    const bytes = readFileSync(join(folder, name));
    entries[name] = { file: name, hash: createHash("sha256").update(bytes).digest("hex").slice(0, 12), bytes: bytes.length };
  }
  const first = /^(source-serif-4-latin-wght-normal|inter-latin-wght-normal)-/;
  entries.preload = readdirSync(join(folder, "fonts")).filter((name) => first.test(name)).sort().map((name) => `fonts/${name}`);
  return entries;
}

/** The licence texts of every package whose code or fonts are in the bundle. */
function licenses(metafile) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  return [...packages].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : ""}\n`;
  }).join(`\n${"-".repeat(80)}\n\n`);
}

function replace(fresh, target) {
  const old = `${target}.old.${process.pid}`;
  mkdirSync(dirname(target), { recursive: true });
  if (existsSync(target)) renameSync(target, old);
  renameSync(fresh, target);
  rmSync(old, { recursive: true, force: true });
  const bytes = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0);
  console.log(`bundled ${Object.keys(result.metafile.outputs).length} files, ${(bytes / 1024).toFixed(0)} KiB, into ${relative(process.cwd(), target) || "."}`);
}
