"""Sentences of the posts and of their summaries, with slots for facts.

Slots: {who} {deed} {thing} {amount} {question} are the gist, {place} {day} {hobby} are side facts, {other} is a value
of the gist's kind that is named in passing and is not the answer.
"""

# ---------------------------------------------------------------- posts: beside the point
OPENERS = (
    "Throwaway because people I know read this site.",
    "Long time lurker, first time poster, so please be kind.",
    "I am on mobile, so sorry for the formatting.",
    "I never thought I would be writing one of these.",
    "Sorry in advance for the wall of text.",
    "Some background first, because it matters later.",
    "My hands are still shaking a little while I type this.",
    "Please no mean comments, I feel silly enough already.",
)
BACKGROUND = {
    "place": (
        "I live in {place} and the weather has been awful lately.",
        "All of this took place in {place}, in case that matters.",
        "I am writing from {place}, where it has rained since the morning.",
        "Rent in {place} is no joke, which does not help my mood.",
    ),
    "day": (
        "I need to decide before {day}.",
        "I promised to give an answer by {day}.",
        "Everything has to be done by {day}, they say.",
        "If nothing happens before {day} I will go mad.",
    ),
    "hobby": (
        "I even skipped {hobby} because I could not think straight.",
        "The only thing that keeps me sane these days is {hobby}.",
        "I had just come back from {hobby} when I heard about it.",
        "Between work and {hobby} I have little time for drama.",
    ),
}
CHATTER = (
    "I have not slept well since.",
    "Everyone tells me something different.",
    "I tried to talk about it, but that went nowhere.",
    "Maybe I am overreacting, I honestly cannot tell.",
    "I know how this sounds, believe me.",
    "There were some harsh words, and then a very long silence.",
    "My stomach hurts when I think about it.",
    "I made tea and stared at the wall.",
    "The whole street heard the argument.",
    "It is not even about the money, it is about respect.",
)
TITLES = (
    "I do not know what to do",
    "A strange story, looking for advice",
    "Am I overreacting here?",
    "I need an outside opinion on this one",
    "Feeling sad and angry, please help",
    "How would you handle this?",
    "A bad week, and it is not over",
    "What a mess this has become",
)
# ---------------------------------------------------------------- posts: the gist
EVENTS = {
    "other": (
        "So last night my {who} {deed} my {thing}.",
        "Then my {who} {deed} my {thing} while I was at work.",
        "Out of nowhere my {who} {deed} my {thing} and did not say a word.",
        "To make it short, my {who} {deed} my {thing}.",
        "When I got home I learned that my {who} had {deed} my {thing}.",
        "I still cannot believe it, but my {who} {deed} my {thing}.",
        "Here is the story, my {who} {deed} my {thing} without asking me.",
        "About my {thing}, well, my {who} {deed} it and then told me to calm down.",
    ),
    "self": (
        "So last night I {deed} my {who}'s {thing}.",
        "Then, like an idiot, I {deed} the {thing} that belongs to my {who}.",
        "To make it short, I {deed} my {who}'s {thing}.",
        "I was tired and not looking, and I {deed} the {thing} of my {who}.",
        "Out of sheer stupidity I {deed} my {who}'s {thing}.",
        "My {who} left me alone for an hour, and in that hour I {deed} the {thing}.",
        "My {who} does not know yet, but I {deed} the {thing}.",
        "About the {thing} of my {who}, well, I {deed} it and then ran away.",
    ),
}
STAKES = (
    "To make it right will take {amount}.",
    "I did the math and it comes to {amount}.",
    "The damage is {amount}, as I know now.",
    "We are talking about {amount} here, which is a lot for me.",
    "A quick search says that a new one is {amount}.",
    "To be clear, this is about {amount}, not about pocket change.",
)
QUESTIONS = (
    "So, should I {question}?",
    "Would it be wrong to {question}?",
    "Is it time to {question}?",
    "Do you think I should {question}, or am I missing something?",
    "My question is, should I {question}?",
    "Reddit, do I {question} or not?",
)
# ---------------------------------------------------------------- posts: named in passing, and not the answer
DISTRACTIONS = {
    "who": (
        "At least my {other} had nothing to do with it.",
        "My {other} was there too, but only watched.",
        "My {other} says that I should calm down.",
        "I called my {other} afterwards and cried.",
    ),
    "deed": (
        "At first I thought that it was only {other}, but no.",
        "If it had just been {other} I could laugh about it.",
        "Everybody here has heard that it was {other}, which is not true.",
    ),
    "thing": (
        "Luckily nothing happened to the {other}.",
        "The {other} was right next to it and is fine.",
        "I do not care about the {other}, which is in one piece.",
    ),
    "amount": (
        "Someone once offered {other} for it.",
        "Years ago it was bought for {other}.",
        "I first put it at {other}, which was wrong.",
        "All I have in the bank is {other}.",
    ),
    "question": (
        "Everybody tells me to {other}, but I do not want that.",
        "I will not {other}, before anyone asks.",
        "A year ago I would have said to {other}, not any more.",
    ),
}

# ---------------------------------------------------------------- summaries: clauses that are put together
TOLD = {
    "other": (
        "my {who} {deed} my {thing}",
        "my {who} {deed} my {thing} without asking",
        "found out that my {who} {deed} my {thing}",
        "it turns out my {who} {deed} my {thing}",
    ),
    "self": (
        "I {deed} my {who}'s {thing}",
        "I {deed} my {who}'s {thing} by mistake",
        "like an idiot I {deed} my {who}'s {thing}",
        "it turns out I {deed} my {who}'s {thing}",
    ),
}
BLURRED = {  # voice -> kind -> (what stands in the clause, what takes its place)
    "other": {"who": ("my {who}", "someone"), "thing": ("my {thing}", "something of mine")},
    "self": {"who": ("my {who}'s", "someone's"), "thing": ("my {who}'s {thing}", "something of my {who}")},
}
COST = {
    "keep": (", worth {amount}", ", which comes to {amount}", " and it is about {amount}", ", {amount} in all"),
    "blur": (", which is a lot of money", ", and it was not cheap", " and it is about some money"),
    "drop": ("",),
}
ASKED = {
    "keep": (
        ". Should I {question}?",
        ", should I {question}?",
        " and I am not sure whether to {question}.",
        ". Is it right to {question}?",
    ),
    "blur": (". What should I do?", ", any advice?", " and I do not know what to do."),
    "drop": (".",),
}
PAD_BEFORE = (
    "sorry for the long post, but ",
    "long story short, ",
    "as the title says, ",
    "it has been a bad week, ",
)
PAD_AFTER = {
    "place": ("By the way I live in {place}, where it has rained a lot.", "All of this took place in {place}."),
    "day": ("It has to be done by {day}.", "I need to decide before {day}, so please be quick."),
    "hobby": ("I even skipped {hobby} because of this.", "At least {hobby} is going well."),
    "": (
        "Thanks for reading all of this.",
        "I have not slept well since.",
        "Everyone tells me something different.",
        "Please be kind in the comments.",
    ),
}
GENERIC = (
    "I have a problem and I would like some advice on what to do.",
    "Something bad happened and I do not know what to do about it.",
    "I am upset about a thing that happened and need advice.",
    "Bad week, please tell me what you would do.",
)
