"""The `teachllm` command: a table of subcommands, each a function of the room that does the work."""

from __future__ import annotations

import os
import sys

from cyclopts import App

from teachllm import __version__

app = App(
    name="teachllm",
    help="Learn large language models from the tokenizer to the agent, on real, tested code.",
    version=__version__,
)

COMMANDS = {
    "start": ("teachllm.school.web.serve:start", "Open the studio in the browser."),
    "doctor": ("teachllm.school.doctor:doctor", "Say what is installed, what is missing and what to do."),
    "check": ("teachllm.school.check_command:check", "Grade your solution of a lesson's exercise."),
    "review": ("teachllm.school.review_command:review", "Answer the cards that are due."),
    "cards": ("teachllm.school.cards_command:app", "Take your cards to Anki or a spreadsheet and back."),
    "progress": ("teachllm.school.progress_command:progress", "Show how far you are."),
    "plan": ("teachllm.school.plan_command:plan", "Show what the study plan has for today."),
    "export": ("teachllm.school.transfer.command:export_command", "Write your data into one file."),
    "import": ("teachllm.school.transfer.command:import_command", "Merge such a file with your data."),
    "search": ("teachllm.school.search_command:search", "Find a place in the lessons."),
    "chat": ("teachllm.stack.inference.command:chat", "Talk to the local model."),
    "generate": (
        "teachllm.stack.inference.generate_command:generate",
        "Continue a text with the local model.",
    ),
    "medusa": (
        "teachllm.stack.inference.medusa_command:medusa",
        "Train heads that guess for a model, on what it writes itself.",
    ),
    "serve": (
        "teachllm.stack.inference.serve_command:serve",
        "Serve the local model behind OpenAI's interface.",
    ),
    "prepare": (
        "teachllm.stack.pretraining.commands:prepare_data",
        "Prepare the data of a recipe and show what was dropped.",
    ),
    "train": ("teachllm.stack.pretraining.commands:train", "Train a language model as a recipe says."),
    "resume": ("teachllm.stack.pretraining.commands:resume", "Go on with a run that was stopped."),
    "eval": ("teachllm.stack.pretraining.commands:evaluate", "Measure the model of a run."),
    "retrieve": (
        "teachllm.stack.retrieval.command:retrieve",
        "Measure searches on a collection with known answers.",
    ),
    "train-embedding": (
        "teachllm.stack.retrieval.embedding.command:train_embedding_command",
        "Teach an embedding model a second language.",
    ),
    "corpus": ("teachllm.school.corpus.command:corpus", "Write the course's text as JSON Lines."),
    "train-reranker": (
        "teachllm.stack.retrieval.rerankers.command:train_reranker",
        "Train a cross-encoder as a recipe says.",
    ),
    "assets": ("teachllm.school.assets_command:app", "List and fetch models and other files."),
    "lint": ("teachllm.school.lint:lint_command", "Say what is missing or wrong in the lessons."),
    "new-lesson": ("teachllm.school.new_lesson:new_lesson_command", "Make the folder of a planned lesson."),
}
for name, (target, summary) in COMMANDS.items():
    app.command(target, name=name, help=summary)


def main() -> None:
    # Read when PyTorch is loaded. The model shares its cores with labs, learners' code and other programs:
    # threads that spin while they wait slow it down tenfold (SmolLM2 on two loaded cores: 0.7 instead of 7
    # tokens a second). A training run has the machine to itself, and there spinning is what is fast.
    if not set(sys.argv[1:2]) & {"train", "resume", "train-embedding", "train-reranker"}:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as ended:
        if sys.argv[1:2] == ["start"] and isinstance(ended.code, int | None):
            # Everything is closed. A thread of the background may still be inside PyTorch, which aborts a
            # process whose interpreter ends under it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code or 0)
        raise


if __name__ == "__main__":
    main()
