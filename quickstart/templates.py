"""Sentences of the posts and of their summaries, with slots for facts.

Slots: {who} {deed} {thing} {amount} {question} are the gist, {place} {span} {day} {hobby} are side facts,
{they} {them} {their} are pronouns for {who}. Verbs after {they} stand in a tense that suits he, she and they alike.
"""

# ---------------------------------------------------------------- posts: what is told first, mostly beside the point
OPENERS = (
    "Throwaway because people I know read this site.",
    "Long time lurker, first time poster, so please be kind.",
    "I am on mobile, so sorry for the formatting.",
    "English is not my first language, so bear with me.",
    "This happened a while back but I still think about it every night.",
    "I never thought I would be writing one of these, yet here I am.",
    "Sorry in advance for the wall of text.",
    "Some background first, because it matters later.",
    "I have been going back and forth about posting this all morning.",
    "It has been one of those days, so I will try to stay calm.",
    "My hands are still shaking a little while I type this.",
    "I will keep the details vague on purpose.",
    "I asked in another place and got no answer, so now I am trying here.",
    "Please no mean comments, I feel silly enough already.",
    "Grab a coffee, because this is a strange one.",
)
BACKGROUND = {
    "place": (
        "I live in {place} and the weather has been awful lately.",
        "We moved to {place} not so long ago and I like it more than I expected.",
        "All of this took place in {place}, in case that matters.",
        "I grew up in {place}, where nobody talks about this kind of thing.",
        "I am writing from {place}, where it has rained since the morning.",
        "People in {place} are usually friendly, so I did not see any of this coming.",
        "Rent in {place} is no joke, which does not help my mood.",
        "I only came to {place} for the quiet, which is funny now.",
    ),
    "span": (
        "I have known {them} for {span} and there was never any trouble before.",
        "We have been on good terms for {span}, more or less.",
        "{they} came into my life {span} ago, and at first it all went well.",
        "For {span} everything was fine between us.",
        "It took me {span} to trust {them}, so this really hurts.",
        "In the {span} since we met, {they} had always been polite to me.",
        "I have been sitting on this story for {span}.",
        "I have put up with small things like this for {span} now.",
    ),
    "hobby": (
        "Most evenings I am busy with my {hobby}, so I am not home a lot.",
        "The only thing that keeps me sane these days is my {hobby}.",
        "I was in the middle of my {hobby} when I heard about it.",
        "I even skipped my {hobby} because I could not think straight.",
        "Side note, my {hobby} is going really well, thanks for asking.",
        "People at my {hobby} say that I worry too much.",
        "I had just come back from my {hobby} and was looking forward to a nap.",
        "Between work and my {hobby} I have little time for drama.",
    ),
}
# ---------------------------------------------------------------- posts: the gist, one fact after the other
EVENTS = {
    "other": (
        "So last night I found out that my {who} {deed} my {thing}.",
        "Then my {who} {deed} my {thing} while I was at work.",
        "Out of nowhere my {who} {deed} my {thing} and did not say a word.",
        "To make it short, my {who} {deed} my {thing}.",
        "When I got home I learned that my {who} had {deed} my {thing}.",
        "It turns out that my {who} {deed} my {thing} behind my back.",
        "I still cannot believe it, but my {who} {deed} my {thing}.",
        "Yesterday my {who} called to tell me that {they} had {deed} my {thing}.",
        "Here is the thing, my {who} {deed} my {thing} without asking me.",
        "A friend told me that my {who} {deed} my {thing}, and it is true.",
        "My {who} says it was an accident, but {they} {deed} my {thing}.",
        "About my {thing}, well, my {who} {deed} it and then told me to calm down.",
    ),
    "self": (
        "So last night I {deed} the {thing} of my {who}.",
        "Then, like an idiot, I {deed} the {thing} that belongs to my {who}.",
        "To make it short, I {deed} the {thing} of my {who}.",
        "I was tired and not looking, and I {deed} the {thing} of my {who}.",
        "Out of sheer stupidity I {deed} the {thing} that my {who} trusted me with.",
        "My {who} left me alone for an hour, and in that hour I {deed} the {thing}.",
        "I only wanted to help my {who}, and of course I {deed} the {thing}.",
        "What can I say, I {deed} the {thing} of my {who} by mistake.",
        "My {who} does not know yet, but I {deed} the {thing}.",
        "Nobody saw it, but I {deed} the {thing} of my {who}.",
    ),
}
STAKES = {
    "other": (
        "It was worth {amount} and I saved up a long time.",
        "That is {amount} I do not have.",
        "All in all I am out {amount} because of this.",
        "I checked online and the damage comes to {amount}.",
        "We are talking about {amount} here, which is a lot for me.",
        "When I asked, {they} laughed and said that {amount} is nothing.",
        "A quick search says that {amount} is what it will take to make it right.",
        "I did the math and it comes to {amount}.",
        "To be clear, this is about {amount}, not about pocket change.",
        "So far {they} had only one idea, that I should swallow the {amount}.",
    ),
    "self": (
        "I looked it up and it will be {amount} to make it right.",
        "That is {amount} I do not have.",
        "A quick search says that {amount} is what it was worth.",
        "We are talking about {amount} here, which is a lot for me.",
        "I did the math and it comes to {amount}.",
        "To be clear, this is about {amount}, not about pocket change.",
        "It was worth {amount}, as I learned one minute too late.",
        "The receipt on the shelf says {amount}, and I felt sick.",
    ),
}
DEADLINES = (
    "I need to decide before {day}.",
    "We will all meet on or before {day}, so I have to act soon.",
    "I promised to give an answer by {day}.",
    "Everything has to be settled by {day}, they say.",
    "My plan is to wait until {day} and then speak up.",
    "If nothing happens before {day} I will go mad.",
    "By {day} it will be too late to change anything.",
)
CHATTER = (
    "I have not slept well since.",
    "Everyone tells me something different.",
    "I cried in the car park for an hour, not my proudest moment.",
    "I tried to talk about it, but that went nowhere.",
    "Maybe I am overreacting, I honestly cannot tell.",
    "I know how this sounds, believe me.",
    "There were some harsh words, and then a very long silence.",
    "We are all adults here, or so I thought.",
    "My stomach hurts when I think about it.",
    "I made tea and stared at the wall.",
    "To be fair, it has been a hard year for all of us.",
    "The whole street heard the argument.",
    "I do not want to start a war over this.",
    "My mood is as low as it gets.",
    "You could say that I am a bit upset.",
    "I wish I could just laugh about it.",
    "It is not even about the money, it is about respect.",
    "I would rather not involve more people than I have to.",
)
QUESTIONS = (
    "So, should I {question}?",
    "Would it be wrong to {question}?",
    "Is it time to {question}?",
    "Do you think I should {question}, or am I missing something?",
    "What would you do, would you {question}?",
    "My question is, should I {question}?",
    "Is it crazy that I want to {question}?",
    "Reddit, do I {question} or not?",
    "Am I right to {question}?",
    "Can I really {question} without feeling bad?",
)
# A title hints; it carries at most one fact of the gist.
TITLES = (
    "I do not know what to do about my {who}",
    "Trouble with my {who}, looking for advice",
    "My {who} and I are not talking right now",
    "A question about a {thing}",
    "Strange story about a {thing}",
    "The {thing} incident",
    "Am I overreacting here?",
    "I need an outside opinion on this one",
    "Feeling lost and angry, please help",
    "How would you handle this?",
    "Things went wrong in {place}",
    "A bad week, and it is not over",
)

# ---------------------------------------------------------------- summaries: clauses that are put together
TOLD = {
    "other": (
        "my {who} {deed} my {thing}",
        "my {who} {deed} my {thing} without asking",
        "found out that my {who} {deed} my {thing}",
        "it turns out my {who} {deed} my {thing}",
        "my {who} went and {deed} my {thing}",
        "I learned that my {who} {deed} my {thing}",
    ),
    "self": (
        "I {deed} the {thing} of my {who}",
        "I {deed} the {thing} of my {who} by mistake",
        "I went and {deed} the {thing} of my {who}",
        "like an idiot I {deed} the {thing} of my {who}",
        "it was an accident, but I {deed} the {thing} of my {who}",
    ),
}
BLURRED = {
    "who": ("someone I know", "somebody close to me"),
    "thing": {"other": ("something of mine", "a thing I love"), "self": ("a thing", "something precious")},
}
COST = {
    "keep": (
        ", worth {amount}",
        ", which comes to {amount}",
        " and it is about {amount}",
        ", {amount} in all",
        ", a loss of {amount}",
    ),
    "blur": (
        ", which is a lot of money",
        ", and it was not cheap",
        " and it is about some money",
        ", worth quite a bit",
    ),
    "drop": ("",),
}
ASKED = {
    "keep": (
        ". Should I {question}?",
        ", should I {question}?",
        " and I am not sure whether to {question}.",
        ". Is it right to {question}?",
        ". Now I wonder if I should {question}.",
        ". Would you {question}?",
    ),
    "blur": (
        ". What should I do?",
        ", any advice?",
        " and I do not know what to do.",
        ". How would you handle this?",
    ),
    "drop": (".",),
}
PAD_BEFORE = (
    "sorry for the long post, but ",
    "long story short, ",
    "as the title says, ",
    "it has been a bad week, ",
    "hard to sum up, but ",
)
PAD_AFTER = {
    "place": (
        "By the way I live in {place}, where it has rained a lot.",
        "All of this took place in {place}.",
    ),
    "span": (
        "We had been on good terms for {span} before this.",
        "I have known {them} for {span}, so it hurts.",
    ),
    "day": ("It has to be settled by {day}.", "I need to decide before {day}, so please be quick."),
    "hobby": ("I even skipped my {hobby} because of this.", "At least my {hobby} is going well."),
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
