/** The texts of everything that one operates, in Chinese and English. The language is the page's (`<html lang>`). */

/** @type {Record<string, [zh: string, en: string]>} */
export const STRINGS = {
  "undo": ["撤销", "Undo"],
  "close": ["关闭", "Close"],
  "retry": ["再试一次", "Try again"],
  "cancel": ["取消", "Cancel"],
  "delete": ["删除", "Delete"],
  "edit": ["编辑", "Edit"],
  "save": ["保存", "Save"],
  "list.separator": ["、", ", "],
  "error.status": ["工作室出错了（{status}）。终端里有详细原因。", "The studio failed ({status}). The terminal says why."],
  "error.island": ["这一部分没能载入：{message}", "This part could not be loaded: {message}"],

  "offline.title": ["工作室没有在运行。", "The studio is not running."],
  "offline.what": ["在终端里启动它：", "Start it in a terminal:"],
  "offline.short": ["工作室没有在运行", "the studio is not running"],
  "offline.unsaved": ["还有 {n} 项没存，留在这个浏览器里，连上后自动保存。", "{n} not saved yet; kept in this browser and saved when it is back."],
  "offline.again": ["再看看", "Look again"],

  "figure.predict": ["先猜", "Predict first"],
  "figure.skip": ["跳过，直接看", "skip, just show me"],
  "figure.answer": ["就猜这个", "That is my guess"],
  "figure.locked": ["先猜一下，再来拖动。", "Make a guess first, then move it."],
  "figure.your-guess": ["你猜的是 {guess}", "You said {guess}"],
  "figure.right": ["猜对了。", "Right."],
  "figure.wrong": ["答案是 {answer}。", "It is {answer}."],
  "figure.close": ["差得不多：答案是 {answer}，差 {off}。", "Close: it is {answer}, {off} away."],
  "figure.off": ["答案是 {answer}，差了 {off}。", "It is {answer}; you were {off} away."],
  "figure.again": ["重新猜", "Guess again"],
  "figure.reset": ["恢复默认", "Reset"],
  "figure.computed": ["由 {symbol} 计算", "computed by {symbol}"],
  "figure.computing": ["正在计算", "computing"],
  "figure.failed": ["没有画出来：{message}", "It could not be drawn: {message}"],
  "figure.not-kept": ["这次的猜测没有存下来：{message}", "The guess was not kept: {message}"],
  "chart.as-table": ["看数据", "Show the data"],
  "chart.as-chart": ["看图", "Show the chart"],
  "chart.empty": ["没有数据", "no data"],
  "chart.x": ["横轴", "x"],
  "chart.y": ["纵轴", "y"],
  "chart.name": ["名称", "name"],
  "chart.group": ["组", "group"],
  "chart.value": ["值", "value"],
  "chart.row": ["行", "row"],
  "chart.bars": ["柱状图，{n} 项。最大 {max}（{at}），最小 {min}。", "Bar chart of {n}. Largest {max} ({at}), smallest {min}."],
  "chart.lines": ["折线图：{names}。横轴从 {x0} 到 {x1}，纵轴从 {y0} 到 {y1}。", "Line chart: {names}. x from {x0} to {x1}, y from {y0} to {y1}."],
  "chart.points": ["散点图，{n} 个点。", "Scatter of {n} points."],
  "chart.arrows": ["{n} 个从原点出发的箭头。", "{n} arrows from the origin."],
  "chart.heatmap": ["热力图，{rows} 行 {columns} 列，从 {min} 到 {max}。", "Heat map of {rows} rows and {columns} columns, from {min} to {max}."],

  "map.close": ["取消选择", "Choose none"],
  "map.shown": ["显示 {n} 课", "{n} lessons shown"],

  "lab.run": ["运行", "Run"],
  "lab.again": ["再跑一次", "Run again"],
  "lab.mine": ["用我写的函数来跑", "Run it with my function"],
  "lab.mine-not-passed": ["（还没通过检查）", "(not passed yet)"],
  "lab.about": ["约 {time}", "about {time}"],
  "lab.left": ["还要约 {time}", "about {time} left"],
  "lab.starting": ["正在启动", "starting"],
  "lab.queued": ["前面还有实验在跑，排在第 {n} 位", "other labs are running; yours is number {n} in line"],
  "lab.done": ["跑完了，用时 {time}", "Done in {time}"],
  "lab.cancelled": ["已取消", "Cancelled"],
  "lab.failed": ["没有跑完：{message}", "It did not finish: {message}"],
  "lab.failed-why": ["出错的地方", "Where it failed"],
  "lab.cut": ["连接断了，这次运行已经停止。", "The connection was lost, so this run has stopped."],
  "lab.last": ["上一次运行 · {when}", "last run · {when}"],
  "lab.last-mine": ["上一次运行（用你的函数）· {when}", "last run (with your function) · {when}"],
  "lab.live": ["运行中的曲线", "live lines"],

  "exercise.title": ["练习 {lesson}", "Exercise {lesson}"],
  "exercise.editor": ["练习 {lesson} 的代码。按 Esc 再按 Tab 离开编辑器。", "Code of exercise {lesson}. Press Escape, then Tab, to leave the editor."],
  "exercise.escape": ["Esc 再 Tab 离开编辑器", "Esc then Tab leaves the editor"],
  "exercise.submit": ["提交", "Submit"],
  "exercise.checking": ["正在检查", "checking"],
  "exercise.hint": ["提示 {n} / {count}", "Hint {n} of {count}"],
  "exercise.hint-next": ["给我一个提示", "Give me a hint"],
  "exercise.hint-more": ["再给一个提示", "Another hint"],
  "exercise.reset": ["回到空白", "Start over"],
  "exercise.reset-done": ["已经回到空白。", "Back to the empty function."],
  "exercise.draft-clean": ["还没有改动", "no changes yet"],
  "exercise.draft-dirty": ["还没保存", "not saved yet"],
  "exercise.draft-saving": ["正在保存", "saving"],
  "exercise.draft-saved": ["已保存", "saved"],
  "exercise.draft-kept": ["工作室不在，留在这个浏览器里", "kept in this browser; the studio is away"],
  "exercise.draft-failed": ["没有保存：{message}", "not saved: {message}"],
  "exercise.passed": ["通过了。{n} 项检查全部通过，用时 {time}。", "Passed. All {n} checks, {time}."],
  "exercise.passed-before": ["已通过", "passed"],
  "exercise.cancelled": ["已取消。", "Cancelled."],
  "exercise.checks-passed": ["{n} 项通过", "{n} passed"],
  "exercise.checks-rest": ["其余 {n} 项通过", "the other {n} pass"],
  "exercise.check-passed": ["通过", "passed"],
  "exercise.check-failed": ["没通过", "failed"],
  "exercise.output": ["你的代码打印的内容", "What your code printed"],
  "exercise.line": ["第 {line} 行", "line {line}"],
  "exercise.history": ["提交记录（{n}）", "Submissions ({n})"],
  "exercise.history-load": ["放回编辑器", "Put back into the editor"],
  "exercise.history-loaded": ["已放回编辑器。", "Put back into the editor."],
  "exercise.compare": ["和课程的写法对照", "Compare with the course's version"],
  "exercise.compare-mine": ["你的", "yours"],
  "exercise.compare-theirs": ["课程的", "the course's"],
  "exercise.compare-hide": ["收起对照", "Hide the comparison"],
  "exercise.run-with-mine": ["让真的系统用我的函数", "Run the real system with mine"],
  "exercise.status.failed": ["没通过", "Not yet"],
  "exercise.status.error": ["代码出错了", "The code failed"],
  "exercise.status.timeout": ["超时停下了", "Stopped: it ran too long"],
  "exercise.status.memory": ["内存用超了", "Stopped: too much memory"],
  "exercise.status.crashed": ["进程崩溃了", "The process crashed"],
  "exercise.status.syntax": ["语法错误", "A syntax error"],
  "exercise.status.passed": ["通过", "Passed"],
  "exercise.status.cancelled": ["已取消", "Cancelled"],

  "cards.learn": ["把这 {n} 张加入复习", "Learn these {n} cards"],
  "cards.learning": ["这 {n} 张已在复习里", "These {n} cards are in your reviews"],
  "cards.review": ["复习 {n} 张", "Review {n}"],
  "cards.review-now": ["现在复习到期的 {n} 张", "Review the {n} that are due"],
  "cards.none-due": ["这一课现在没有到期的卡片。", "No card of this lesson is due now."],
  "cards.reveal": ["看答案", "Show the answer"],
  "cards.hide": ["收起答案", "Hide the answer"],
  "cards.due": ["到期", "due"],
  "cards.due-at": ["{when}到期", "due {when}"],
  "cards.new": ["新卡", "new"],
  "cards.question": ["问", "Question"],
  "cards.answer": ["答", "Answer"],
  "cards.followup": ["追问", "Follow-up"],
  "cards.followup-reveal": ["看追问的答案", "Answer to the follow-up"],
  "cards.proof": ["依据", "Where it is shown"],
  "cards.speak": ["说出来，计时 90 秒", "Say it aloud, 90 s"],
  "cards.speak-stop": ["停止计时", "Stop the clock"],
  "cards.how": ["记得怎么样？", "How well did you know it?"],
  "cards.1": ["忘了", "Again"],
  "cards.2": ["吃力", "Hard"],
  "cards.3": ["记得", "Good"],
  "cards.4": ["轻松", "Easy"],
  "cards.undone": ["回到上一张。", "Back to the card before."],
  "cards.nothing-to-undo": ["没有可以撤销的。", "Nothing to undo."],
  "cards.done": ["今天的复习做完了。", "That is all for now."],
  "cards.done-count": ["这次复习了 {n} 张。", "{n} reviewed this time."],
  "cards.next-due": ["下一张{when}到期。", "The next one is due {when}."],
  "cards.left": ["还有 {n} 张", "{n} left"],
  "cards.keys": ["空格看答案 · 1–4 评分 · u 撤销 · b 明天再说 · s 暂停", "Space shows the answer · 1–4 rate · u undoes · b until tomorrow · s suspends"],
  "cards.own": ["我的卡片", "My card"],
  "cards.bury": ["明天再说", "Not today"],
  "cards.suspend": ["暂停这张", "Suspend"],
  "cards.is-buried": ["这张明天再来。", "It comes back tomorrow."],
  "cards.is-suspended": ["这张暂停了，在卡片页可以恢复。", "Suspended; take it up again on the page of cards."],
  "cards.leech": ["这张已经忘了 {n} 次。再问一遍帮助不大，回去把那一节重读一遍。", "Forgotten {n} times. Asking again helps little: read its section once more."],
  "cards.reread": ["去读那一节", "Read the section"],
  "cards.level": ["难度 {n}", "level {n}"],

  "notes.add": ["笔记", "Note"],
  "notes.bookmark": ["收藏这一节", "Bookmark this section"],
  "notes.bookmarked": ["已收藏。", "Bookmarked."],
  "notes.unbookmarked": ["已取消收藏。", "Bookmark removed."],
  "notes.write": ["写下你的想法", "Write what you think"],
  "notes.deleted": ["笔记已删除。", "Note deleted."],
  "notes.label": ["我的笔记", "My note"],

  "search.placeholder": ["搜索课程、卡片、代码、术语", "Search lessons, cards, code, terms"],
  "search.label": ["搜索", "Search"],
  "search.none": ["没有找到「{query}」。", "Nothing found for “{query}”."],
  "search.count": ["{n} 个结果", "{n} results"],
  "search.all": ["全部结果", "All results"],
  "search.keys": ["↑↓ 选择 · ↵ 打开 · Esc 关闭", "↑↓ choose · ↵ open · Esc close"],
  "search.kind.lesson": ["课文", "lesson"],
  "search.kind.card": ["卡片", "card"],
  "search.kind.code": ["代码", "code"],
  "search.kind.glossary": ["术语", "term"],
  "search.kind.note": ["笔记", "note"],

  "shortcuts.title": ["键盘快捷键", "Keyboard shortcuts"],
  "shortcuts.help": ["这张表", "this table"],
  "shortcuts.next": ["下一课 / 上一课", "next / previous lesson"],
  "shortcuts.section": ["下一节 / 上一节", "next / previous section"],
  "shortcuts.home": ["回到课程", "go to the course"],
  "shortcuts.map": ["去知识地图", "go to the knowledge map"],
  "shortcuts.plan": ["去学习计划", "go to the study plan"],
  "shortcuts.review": ["去复习", "go to the reviews"],
  "shortcuts.chat": ["去问一问", "go to the chat"],
  "shortcuts.search": ["搜索", "search"],
  "shortcuts.theme": ["换明暗", "change the theme"],
  "shortcuts.language": ["换语言", "change the language"],
  "shortcuts.submit": ["提交练习", "submit the exercise"],
  "shortcuts.cards": ["卡片：看答案 / 评分 / 撤销", "cards: answer / rate / undo"],
  "shortcuts.then": ["再按", "then"],

  "theme.light": ["浅色", "Light"],
  "theme.dark": ["深色", "Dark"],
  "theme.auto": ["跟随系统", "Follow the system"],
  "theme.now": ["主题：{theme}", "Theme: {theme}"],

  "copied": ["已复制", "Copied"],
  "copy.failed": ["浏览器不允许复制，请手动选择。", "The browser did not allow it; select the text by hand."],

  "six.title": ["六件事", "Six things"],
  "toc.title": ["本课", "In this lesson"],

  "chat.you": ["你", "You"],
  "chat.model": ["模型", "Model"],
  "chat.placeholder": ["问点什么", "Ask something"],
  "chat.send": ["发送", "Send"],
  "chat.stop": ["停下", "Stop"],
  "chat.stopped": ["（停在这里）", "(stopped here)"],
  "chat.failed": ["没有答完：{message}", "The answer broke off: {message}"],
  "chat.new": ["新的对话", "New conversation"],
  "chat.threads": ["对话", "Conversations"],
  "chat.empty": ["问它一个问题。它在这台电脑上运行，一个字一个字地写。", "Ask it something. It runs on this computer and writes piece by piece."],
  "chat.untitled": ["新的对话", "New conversation"],
  "chat.deleted": ["对话已删除。", "Conversation deleted."],
  "chat.delete": ["删除对话「{title}」", "Delete the conversation “{title}”"],
  "chat.thinking": ["正在读你的问题", "reading your question"],
  "chat.speed": ["{n} token · {speed} token/s", "{n} tokens · {speed} tokens/s"],
  "chat.about": ["关于：{place}", "About: {place}"],
  "chat.enter": ["回车发送，Shift+回车换行", "Enter sends, Shift+Enter breaks the line"],

  "endpoint.key": ["已保存，以 …{tail} 结尾", "saved, ends in …{tail}"],
  "endpoint.no-key": ["没有密钥", "no key"],
  "endpoint.trying": ["已保存。正在试一试", "Saved. Trying it out"],
  "endpoint.removed": ["已断开，密钥删掉了。", "Disconnected; the key is deleted."],
  "endpoint.trial.answers": ["能回答", "answers"],
  "endpoint.trial.streams": ["边写边送", "streams"],
  "endpoint.trial.form": ["守格式", "keeps to a form"],
  "endpoint.trial.cites": ["按课文回答", "answers from the text"],

  "model.fetch": ["下载模型（{size}）", "Fetch the model ({size})"],
  "model.fetching": ["正在下载：{done} / {total}", "Fetching: {done} of {total}"],
  "model.failed": ["没有下载成功：{message}", "It could not be fetched: {message}"],

  "engine.which": ["看哪个引擎", "Which engine"],
  "engine.asleep": ["还没有启动。发几个示例请求，它就开始工作。", "Not started yet. Send a few sample requests and it begins."],
  "engine.idle": ["空闲", "idle"],
  "engine.working": ["正在工作", "at work"],
  "engine.send": ["发几个示例请求", "Send sample requests"],
  "engine.sending": ["正在装载模型", "loading the model"],
  "engine.stop": ["停下示例请求", "Stop the samples"],
  "engine.running": ["正在写", "running"],
  "engine.waiting": ["在等", "waiting"],
  "engine.speed": ["写的速度", "writing"],
  "engine.ttft": ["TTFT p50 / p95", "TTFT p50 / p95"],
  "engine.tpot": ["TPOT p50 / p95", "TPOT p50 / p95"],
  "engine.hits": ["前缀缓存命中", "prefix cache hits"],
  "engine.preemptions": ["抢占", "preemptions"],
  "engine.ended": ["完成 / 取消 / 失败", "done / cancelled / failed"],
  "engine.blocks": ["KV 缓存的块", "Blocks of the KV cache"],
  "engine.blocks-words": ["{n} 块，每块 {size} 个 token：{owned} 块有一个请求在用，{shared} 块几个请求共用，{cached} 块留作前缀缓存，{unused} 块空着", "{n} blocks of {size} tokens: {owned} used by one text, {shared} shared by several, {cached} kept as prefix cache, {unused} unused"],
  "engine.block": ["第 {n} 块：{what}", "block {n}: {what}"],
  "engine.block.-": ["空着", "unused"],
  "engine.block.c": ["前缀缓存，没有请求在用", "prefix cache, used by nobody now"],
  "engine.block.o": ["一个请求在用", "used by one text"],
  "engine.block.s": ["几个请求共用", "shared by several texts"],
  "engine.texts": ["请求", "Requests"],
  "engine.texts-none": ["现在没有请求。", "There are no requests now."],
  "engine.text": ["请求", "request"],
  "engine.state": ["状态", "state"],
  "engine.state.waiting": ["在等", "waiting"],
  "engine.state.running": ["在写", "running"],
  "engine.state.preempted": ["被抢占", "preempted"],
  "engine.prompt": ["提示 token", "prompt tokens"],
  "engine.computed": ["算好的 / 要算的", "computed / wanted"],
  "engine.written": ["写了", "written"],
  "engine.held": ["块", "blocks"],
  "engine.more": ["还有 {n} 个", "and {n} more"],
  "engine.workers": ["进程", "Processes"],
  "engine.worker": ["进程", "process"],
  "engine.jobs": ["请求", "requests"],
  "engine.queued": ["没读完的提示 token", "prompt tokens not read"],
  "engine.kept": ["等着搬的", "waiting to move"],
  "engine.last-step": ["最近一步", "last step"],
  "engine.step-words": ["读 {prefill}，写 {decode}，{ms} ms", "{prefill} read, {decode} written, {ms} ms"],
  "engine.ended-process": ["已退出", "has ended"],
  "engine.moved-none": ["还没有搬过 KV 缓存。", "No keys and values have been handed over yet."],
  "engine.moved": ["搬了 {n} 份 KV 缓存：{tokens} 个 token，{mb} MB；每份 {half} ms（p95 {most} ms）；{failed} 份没搬成，改为重算", "{n} caches were handed over: {tokens} tokens, {mb} MB, {half} ms each (p95 {most} ms); {failed} did not come and were computed again"],
  "engine.steps": ["每一步", "Step by step"],
  "engine.batch": ["一步里的 token：读提示的和写回答的", "tokens of a step: prompts read and answers written"],
  "engine.time": ["一步的毫秒数", "milliseconds of a step"],
  "engine.prefill": ["读提示", "prefill"],
  "engine.decode": ["写回答", "decode"],
  "engine.whole": ["整步", "whole step"],
  "engine.bookkeeping": ["其中调度和记账", "of it, bookkeeping"],
  "engine.step": ["步", "step"],
  "engine.samples": ["示例请求写了什么", "What the sample requests wrote"],
  "engine.sample.asked": ["在等", "waiting"],
  "engine.sample.writing": ["在写", "writing"],
  "engine.sample.done": ["写完了", "done"],
  "engine.sample.stopped": ["停下了", "stopped"],
  "engine.sample.failed": ["出错了", "failed"],

  "runs.step": ["步", "step"],
  "runs.steps": ["第 {step} / {steps} 步", "step {step} of {steps}"],
  "runs.at-step": ["第 {step} 步", "step {step}"],
  "runs.progress": ["训练进度", "progress of the training"],
  "runs.left": ["还要约 {time}", "about {time} left"],
  "runs.took": ["用了 {time}", "took {time}"],
  "runs.copy": ["复制", "Copy"],
  "runs.stop": ["停下并存检查点", "Stop with a checkpoint"],
  "runs.stopping": ["正在停下", "stopping"],
  "runs.speed": ["速度", "speed"],
  "runs.peak": ["占矩阵乘峰值", "of the matmul peak"],
  "runs.memory": ["内存", "memory"],
  "runs.held-out": ["留出文本", "held-out text"],
  "runs.bits": ["比特/字节", "bits per byte"],
  "runs.minutes": ["分钟", "minutes"],
  "runs.spike": ["突升", "spike"],
  "runs.chart.loss": ["损失（nat/token）", "loss (nats a token)"],
  "runs.chart.learning_rate": ["学习率", "learning rate"],
  "runs.chart.gradient_norm": ["梯度范数（裁剪前）", "gradient norm (before clipping)"],
  "runs.chart.tokens_per_second": ["每秒 token 数", "tokens a second"],
  "runs.chart.matmul_fraction": ["占矩阵乘峰值（%）", "share of the matmul peak (%)"],
  "runs.chart.memory_bytes": ["内存（MB）", "memory (MB)"],
  "runs.curve.loss": ["损失", "loss"],
  "runs.curve.held_out_loss": ["留出文本的损失", "held-out loss"],
  "runs.curves": ["曲线", "Curves"],
  "runs.overlay": ["叠上另一次训练", "Lay another run over it"],
  "runs.overlay-none": ["不叠", "none"],
  "runs.samples": ["它写了什么", "What it wrote"],
  "runs.samples-none": ["还没有写。配方里的 [samples] 定它多久写一次。", "Nothing yet. [samples] in the recipe says how often it writes."],
  "runs.notes": ["值得留意的", "Worth knowing"],
  "runs.checkpoints": ["检查点", "Checkpoints"],
  "runs.checkpoints-none": ["还没有检查点。", "No checkpoint yet."],
  "runs.comparison": ["和配方预期对照", "Beside what the recipe expects"],
  "runs.what": ["什么", "what"],
  "runs.expected": ["预期", "expected"],
  "runs.found": ["这一次", "this run"],
  "runs.fine": ["达到了", "reached"],
  "runs.not-fine": ["没达到", "not reached"],
  "runs.tasks": ["任务成绩", "Tasks"],
  "runs.task": ["任务", "task"],
  "runs.metric": ["指标", "metric"],
  "runs.accuracy": ["正确率", "accuracy"],
  "runs.value": ["成绩", "score"],
  "runs.items": ["题数", "items"],

  "transfer.choose": ["导入一个文件", "Import a file"],
  "transfer.nothing": ["文件里的东西这里都有了。", "All that the file has is here already."],
  "transfer.would": ["合并会改动：", "Merging would change:"],
  "transfer.line": ["{name}：新增 {added}，更新 {changed}", "{name}: {added} new, {changed} updated"],
  "transfer.merge": ["合并", "Merge"],
  "transfer.merged": ["合并好了。", "Merged."],
  "transfer.undone": ["已恢复到合并之前。", "Everything is as it was before."],

  "interview.at": ["第 {n} 题，共 {all} 题", "Question {n} of {all}"],
  "interview.level-1": ["基础", "basic"],
  "interview.level-2": ["中等", "middling"],
  "interview.level-3": ["深入", "deep"],
  "interview.gone": ["课程里没有这道题了。", "The course has this question no longer."],
  "interview.answer": ["你的回答", "Your answer"],
  "interview.followup": ["追问", "Follow-up"],
  "interview.followup-answer": ["追问的回答", "Your answer to the follow-up"],
  "interview.done-answer": ["答完了，听追问", "Done, hear the follow-up"],
  "interview.next": ["下一题", "Next question"],
  "interview.last": ["答完了，去评分", "Done, judge the answers"],
  "interview.keys": ["写下的随时保存，关掉再来也在 · Ctrl+Enter 答完", "What you type is saved; you can leave and come back · Ctrl+Enter when done"],
  "interview.voice": ["用嘴说", "Speak"],
  "interview.voice-stop": ["停止听写", "Stop listening"],
  "interview.voice-where": ["听写由浏览器做，有的浏览器会把声音发到它的服务器。", "The browser does this; some send the sound to their servers."],
  "interview.voice-failed": ["听写没有成功：{error}", "Listening failed: {error}"],
  "interview.no-voice": ["这个浏览器不会听写，请打字。", "This browser cannot turn speech into text; please type."],
  "interview.saved": ["已保存", "saved"],
  "interview.over-time": ["超时了，可以接着说完", "over time; finish what you are saying"],
  "interview.judge": ["对照要点，勾上你讲到的。意思到了就算，不必是原话。", "Tick each point that you made. The meaning counts, not the wording."],
  "interview.points": ["答案的要点", "Points of the answer"],
  "interview.followup-points": ["追问的要点", "Points of the follow-up"],
  "interview.nothing": ["没有写", "nothing written"],
  "interview.by-model": ["让接上的模型评这一题", "Let the connected model judge this one"],
  "interview.judging": ["模型在评", "the model is judging"],
  "interview.finish": ["评完了，看报告", "Done, see the report"],
  "interview.sure": ["真的删除", "Really delete"],

  "settings.saved": ["已保存", "Saved"],
  "settings.failed": ["没有保存：{message}", "Not saved: {message}"],

  "time.now": ["刚刚", "just now"],

};

let column = 0;
/** Called once by main.js (and by tests). @param {string} lang */
export function setLanguage(lang) { column = lang.toLowerCase().startsWith("zh") ? 0 : 1; }
export const language = () => (column === 0 ? "zh" : "en");
const locale = () => (column === 0 ? "zh-CN" : "en");

/**
 * A text of the page's language: `t("lab.left", {time: "12 s"})`.
 * @param {string} key
 * @param {Record<string, string|number>} [values]
 */
export function t(key, values) {
  const pair = STRINGS[key];
  if (!pair) throw new Error(`no text named ${key}`);
  return pair[column].replace(/\{(\w+)\}/g, (whole, name) => (values && name in values ? String(values[name]) : whole));
}

/** A duration in words: 0.4 s, 12 s, 3 min. */
export function duration(seconds) {
  const [s, m, h, d] = column === 0 ? [" 秒", " 分钟", " 小时", " 天"] : [" s", " min", " h", seconds < 1.5 * 86400 ? " day" : " days"];
  if (seconds < 9.95) return `${Number(seconds.toFixed(seconds < 1 ? 2 : 1))}${s}`;
  if (seconds < 90) return `${Math.round(seconds)}${s}`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)}${m}`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)}${h}`;
  return `${Math.round(seconds / 86400)}${d}`;
}

/** A moment relative to now: "3 分钟后", "2 hours ago". @param {string|number|Date} when */
export function fromNow(when, now = Date.now()) {
  const seconds = (new Date(when).getTime() - now) / 1000;
  if (Math.abs(seconds) < 45) return t("time.now");
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" });
  for (const [unit, size, limit] of [["minute", 60, 3600], ["hour", 3600, 86400], ["day", 86400, 86400 * 30], ["month", 86400 * 30, 86400 * 365]]) {
    if (Math.abs(seconds) < limit) return format.format(Math.round(seconds / size), /** @type {any} */ (unit));
  }
  return format.format(Math.round(seconds / (86400 * 365)), "year");
}

/** A number as a reader wants it: at most four significant digits, thousands separated, a true minus sign. */
export function readable(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) {
    const [digits, power] = value.toExponential(2).split("e");
    return `${Number(digits)}e${Number(power)}`.replaceAll("-", "−");
  }
  const decimals = Number.isInteger(value) ? 0 : Math.max(0, 3 - Math.floor(Math.log10(size)) - (size >= 1 ? 0 : 1));
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(decimals, 6) }).replace("-", "−");
}

/** Bytes as KB/MB/GB (powers of ten, as package registries count). */
export function size(bytes) {
  for (const [unit, power] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) {
    if (bytes >= power) return `${(bytes / power).toFixed(bytes / power < 10 ? 1 : 0)} ${unit}`;
  }
  return `${bytes} B`;
}
