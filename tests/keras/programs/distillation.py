# equal: a small student is trained towards a large teacher's softened answers
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
x_train, y_train = rng.random((22, 8, 8, 1)), rng.integers(0, 3, 22)


class Distiller(keras.Model):
    def __init__(self, student, teacher):
        super().__init__()
        self.teacher, self.student = teacher, student

    def compile(self, optimizer, metrics, student_loss_fn, distillation_loss_fn, alpha=0.1, temperature=3):
        super().compile(optimizer=optimizer, metrics=metrics)
        self.student_loss_fn, self.distillation_loss_fn = student_loss_fn, distillation_loss_fn
        self.alpha, self.temperature = alpha, temperature

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False):
        teacher_pred = self.teacher(x, training=False)
        student_loss = self.student_loss_fn(y, y_pred)
        soft = ops.softmax(teacher_pred / self.temperature, axis=1), ops.softmax(y_pred / self.temperature, axis=1)
        distillation_loss = self.distillation_loss_fn(*soft) * (self.temperature**2)
        return self.alpha * student_loss + (1 - self.alpha) * distillation_loss

    def call(self, x):
        return self.student(x)


def net(filters):
    first = [keras.Input((8, 8, 1)), layers.Conv2D(filters, (3, 3), strides=(2, 2), padding="same")]
    return keras.Sequential([*first, layers.LeakyReLU(negative_slope=0.2), layers.Flatten(), layers.Dense(3)])


teacher, student = net(6), net(3)
teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
teacher.fit(x_train, y_train, epochs=1, batch_size=8, verbose=0)
distiller = Distiller(student=student, teacher=teacher)
distiller.compile(
    optimizer=keras.optimizers.Adam(),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
    student_loss_fn=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    distillation_loss_fn=keras.losses.KLDivergence(),
    alpha=0.1,
    temperature=10,
)
history = distiller.fit(x_train, y_train, epochs=1, batch_size=8, verbose=0)
scores = distiller.evaluate(x_train, y_train, verbose=0, return_dict=True)
